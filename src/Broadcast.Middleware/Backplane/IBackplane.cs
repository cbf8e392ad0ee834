namespace Broadcast.Middleware;

/// <summary>
/// Joins the broadcasts of several processes, nodes, to one: numbers the messages of each group, keeps their history, hands them to every node,
/// and knows which node has which members. Without one, a broadcast is one node.
/// </summary>
/// <remarks>
/// <para>
/// One object belongs to one broadcast of one node. Group names are opaque here; the broadcast has some of its own, which begin with a control
/// character. All methods can be called from many threads.
/// </para>
/// <para>
/// What it owes: for each group one order, the same on every node, with offsets that grow by one from message to message within an epoch;
/// numbering, keeping and handing out are one step. A message whose publisher was told its position is never missing on a node without that
/// node being told. One whose publisher was told an error may have been published all the same, but at most once. A test suite for
/// implementations is in the project's repository.
/// </para>
/// </remarks>
public interface IBackplane
{
    /// <summary>Begins to work, in the background if it takes time. Called once, before everything else.</summary>
    /// <param name="receiver">Is handed everything that comes.</param>
    void Start(IBackplaneReceiver receiver);

    /// <summary>Numbers a message, appends it to the history of its group, and hands it to every node that has subscribed, this one too.</summary>
    /// <param name="group">The group's name.</param>
    /// <param name="message">Copied before the call returns.</param>
    /// <param name="history">What is kept for later joiners; null for no more than nodes may need to catch up.</param>
    /// <param name="cancellationToken">Gives up, with the uncertainty of any error.</param>
    /// <returns>The message's position.</returns>
    /// <exception cref="BackplaneException">It could not be done in time, or too much waits to be done already.</exception>
    ValueTask<Position> PublishAsync(string group, ReadOnlyMemory<byte> message, GroupOptions? history, CancellationToken cancellationToken = default);

    /// <summary>
    /// From now on this node is handed every message of a group, beginning with the one after the position that is returned, even before the task
    /// ends, which it does within some seconds, for clients wait for it. Called again only after <see cref="Unsubscribe"/> or
    /// <see cref="IBackplaneReceiver.OnLost"/>. When the task ends, no call is under way any more that is about a subscription before.
    /// </summary>
    /// <param name="group">The group's name.</param>
    /// <param name="history">What is kept of it.</param>
    /// <param name="cancellationToken">Gives up.</param>
    /// <exception cref="BackplaneException">It could not be done in time.</exception>
    ValueTask<BackplaneSubscription> SubscribeAsync(string group, GroupOptions? history, CancellationToken cancellationToken = default);

    /// <summary>
    /// Ends it; where there is none, nothing happens. Not called while <see cref="SubscribeAsync"/> is under way for the group. A message that is on
    /// its way may still come, and so may the word of a loss, until the next subscription has been answered.
    /// </summary>
    /// <param name="group">The group's name.</param>
    void Unsubscribe(string group);

    /// <summary>
    /// Says that this node has a member in a group, until it is removed or the node has been dead for some 15 seconds. Calls about one member take
    /// effect in their order. Kept here, and said again, while the cluster cannot be reached.
    /// </summary>
    /// <param name="group">The group's name.</param>
    /// <param name="member">The member's name, which no other node has in this group.</param>
    /// <param name="value">What is to be known of it, at most some kilobytes; copied.</param>
    void SetMember(string group, string member, ReadOnlyMemory<byte> value);

    /// <summary>Undoes <see cref="SetMember"/>.</summary>
    /// <param name="group">The group's name.</param>
    /// <param name="member">The member's name.</param>
    void RemoveMember(string group, string member);

    /// <summary>The members of a group on all nodes, in no order.</summary>
    /// <param name="group">The group's name.</param>
    /// <param name="cancellationToken">Gives up.</param>
    /// <exception cref="BackplaneException">It could not be done in time.</exception>
    ValueTask<IReadOnlyList<BackplaneMember>> GetMembersAsync(string group, CancellationToken cancellationToken = default);

    /// <summary>How many there are.</summary>
    /// <param name="group">The group's name.</param>
    /// <param name="cancellationToken">Gives up.</param>
    /// <exception cref="BackplaneException">It could not be done in time.</exception>
    ValueTask<long> CountMembersAsync(string group, CancellationToken cancellationToken = default);
}

/// <summary>Takes what comes from an <see cref="IBackplane"/>. Calls about one group come one after the other, and must not be kept waiting.</summary>
public interface IBackplaneReceiver
{
    /// <summary>The next message of a group that this node has subscribed to.</summary>
    /// <param name="group">The group's name.</param>
    /// <param name="position">One offset after the message before.</param>
    /// <param name="message">To be copied before the call returns.</param>
    void OnMessage(string group, Position position, ReadOnlyMemory<byte> message);

    /// <summary>
    /// Messages of a group may be missing for good, because the cluster has lost them or this node was away for too long. The subscription has
    /// ended. One that comes before a subscription has been answered may be about the one before; the broadcast begins anew in either case.
    /// </summary>
    /// <param name="group">The group's name.</param>
    void OnLost(string group);
}

/// <summary>Where a subscription begins.</summary>
/// <param name="Position">The last message that is not handed out; the offset is 0 if there has been none.</param>
/// <param name="History">The messages up to that one, as far as they are kept, the oldest first, without gaps.</param>
public sealed record BackplaneSubscription(Position Position, IReadOnlyList<ReadOnlyMemory<byte>> History);

/// <summary>A member of a group, on some node.</summary>
/// <param name="Name">Its name.</param>
/// <param name="Value">What is to be known of it.</param>
public readonly record struct BackplaneMember(string Name, ReadOnlyMemory<byte> Value);

/// <summary>The other nodes cannot be reached at the moment, or no more may wait until they can.</summary>
public sealed class BackplaneException : Exception
{
    /// <summary>Without a word about it.</summary>
    public BackplaneException() { }

    /// <summary>Says what is wrong and how to mend it.</summary>
    /// <param name="message">That.</param>
    public BackplaneException(string message) : base(message) { }

    /// <summary>The same with a cause.</summary>
    /// <param name="message">What is wrong and how to mend it.</param>
    /// <param name="innerException">The cause.</param>
    public BackplaneException(string message, Exception? innerException) : base(message, innerException) { }
}
