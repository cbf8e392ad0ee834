namespace Broadcast.Middleware.Delivery;

/// <summary>Provides groups to the connections that join them.</summary>
interface IGroupProvider
{
    /// <summary>Returns a group that stays on this node until it is released as often as it was acquired.</summary>
    /// <exception cref="BackplaneException">The cluster is unreachable.</exception>
    ValueTask<Group> AcquireAsync(string name, CancellationToken cancellationToken);

    /// <summary>Ends one use of a group: a join failed, or a member left.</summary>
    /// <param name="group">The group.</param>
    /// <param name="isEmpty">True if the group had no members at that time.</param>
    void Release(Group group, bool isEmpty);
}
