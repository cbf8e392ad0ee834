namespace Broadcast.Middleware.Delivery;

/// <summary>Provides the groups that subscribers join.</summary>
interface IGroupProvider
{
    /// <summary>
    /// False if <see cref="AcquireAsync"/> would fail, because the cluster is unreachable and this node does not have
    /// the group yet.
    /// </summary>
    bool CanAcquire(string name);

    /// <summary>
    /// Returns a group. The group stays on this node until the caller has called <see cref="Release"/> once for each
    /// call of this method.
    /// </summary>
    /// <exception cref="BackplaneException">The cluster is unreachable.</exception>
    ValueTask<Group> AcquireAsync(string name, CancellationToken cancellationToken);

    /// <summary>Ends one use of a group, because a join failed or a member left.</summary>
    /// <param name="group">The group.</param>
    /// <param name="isEmpty">True if the group has no members after the failed join or the leave.</param>
    void Release(Group group, bool isEmpty);
}
