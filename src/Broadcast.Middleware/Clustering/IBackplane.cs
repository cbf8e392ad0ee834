namespace Broadcast.Middleware;

/// <summary>
/// Joins the broadcasts of several processes (nodes) into one. It numbers the messages of each group, keeps their
/// history, delivers them to every node, and knows the members of each node. Without a backplane, a broadcast is one
/// node.
/// </summary>
/// <remarks>
/// <para>
/// One object belongs to one broadcast of one node. Group names are opaque. Internal groups have names that start with
/// a control character. All methods must be thread-safe.
/// </para>
/// <para>An implementation guarantees:</para>
/// <list type="bullet">
/// <item>Each group has one order, which is the same on every node. Within an epoch, each message adds 1 to the
/// offset.</item>
/// <item>Numbering, storing and delivering a message is one atomic step.</item>
/// <item>If a publish returned a position, every subscribed node receives the message or a call of
/// <see cref="IBackplaneReceiver.OnLost"/>.</item>
/// <item>If a publish threw an exception, the message was published at most once.</item>
/// </list>
/// <para>The repository of this project contains a test suite for implementations.</para>
/// </remarks>
public interface IBackplane
{
    /// <summary>
    /// Starts the backplane. The broadcast calls this method once, before every other method. Slow work must happen
    /// in the background.
    /// </summary>
    /// <param name="receiver">Receives everything that arrives.</param>
    void Start(IBackplaneReceiver receiver);

    /// <summary>
    /// Numbers a message, appends it to the history of the group, and delivers it to every subscribed node, including
    /// this one.
    /// </summary>
    /// <param name="group">The name of the group.</param>
    /// <param name="message">The message. The call copies the message before it returns.</param>
    /// <param name="history">
    /// The limits of the history. Null keeps only the messages that nodes may need to catch up.
    /// </param>
    /// <param name="cancellationToken">Cancels the call. The message may still be published then.</param>
    /// <returns>The position of the message.</returns>
    /// <exception cref="BackplaneException">
    /// The publish did not succeed in time, or too many publishes wait already.
    /// </exception>
    ValueTask<Position> PublishAsync(
        string group,
        ReadOnlyMemory<byte> message,
        GroupOptions? history,
        CancellationToken cancellationToken = default);

    /// <summary>
    /// Subscribes this node to a group. The node receives every message after the returned position, possibly before
    /// the task completes.
    /// </summary>
    /// <remarks>
    /// The task must complete within a few seconds, because clients wait for it. When it completes, no call about an
    /// earlier subscription to the group is in progress. The broadcast calls the method again only after
    /// <see cref="Unsubscribe"/> or <see cref="IBackplaneReceiver.OnLost"/>.
    /// </remarks>
    /// <param name="group">The name of the group.</param>
    /// <param name="history">The limits of the history.</param>
    /// <param name="cancellationToken">Cancels the call.</param>
    /// <exception cref="BackplaneException">The subscription did not succeed in time.</exception>
    ValueTask<BackplaneSubscription> SubscribeAsync(
        string group, GroupOptions? history, CancellationToken cancellationToken = default);

    /// <summary>Ends a subscription. The call has no effect without a subscription.</summary>
    /// <remarks>
    /// The broadcast does not call this method while <see cref="SubscribeAsync"/> is in progress for the group. A
    /// message or a loss that is already on its way may still arrive until the next subscription succeeds. The method
    /// must not throw.
    /// </remarks>
    /// <param name="group">The name of the group.</param>
    void Unsubscribe(string group);

    /// <summary>
    /// Adds a member of this node to a group, or changes its value. The member stays until it is removed, or until the
    /// node has been dead for about 15 seconds.
    /// </summary>
    /// <remarks>
    /// Calls about one member take effect in their order. While the cluster is unreachable, the backplane keeps the
    /// members and adds them later. The method must not throw.
    /// </remarks>
    /// <param name="group">The name of the group.</param>
    /// <param name="member">The name of the member. No other node has a member with this name in the group.</param>
    /// <param name="value">The value, at most a few kilobytes. The call copies the value.</param>
    void SetMember(string group, string member, ReadOnlyMemory<byte> value);

    /// <summary>Reverts <see cref="SetMember"/>. The method must not throw.</summary>
    /// <param name="group">The name of the group.</param>
    /// <param name="member">The name of the member.</param>
    void RemoveMember(string group, string member);

    /// <summary>Returns the members of a group on all nodes, in no particular order.</summary>
    /// <param name="group">The name of the group.</param>
    /// <param name="cancellationToken">Cancels the call.</param>
    /// <exception cref="BackplaneException">The call did not succeed in time.</exception>
    ValueTask<IReadOnlyList<BackplaneMember>> GetMembersAsync(
        string group, CancellationToken cancellationToken = default);

    /// <summary>Returns the number of members of a group on all nodes.</summary>
    /// <param name="group">The name of the group.</param>
    /// <param name="cancellationToken">Cancels the call.</param>
    /// <exception cref="BackplaneException">The call did not succeed in time.</exception>
    ValueTask<long> CountMembersAsync(string group, CancellationToken cancellationToken = default);
}
