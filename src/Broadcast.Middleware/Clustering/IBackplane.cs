namespace Broadcast.Middleware;

/// <summary>
/// Connects the broadcasts of several processes (nodes) into one broadcast. The backplane numbers and stores the
/// messages of each group, and delivers them to every subscribed node. The backplane also stores the members of each
/// group. Without a backplane, a broadcast has one node.
/// </summary>
/// <remarks>
/// <para>
/// One backplane object serves one broadcast on one node. Do not interpret group names. The names of internal groups
/// start with a control character. All methods must be thread-safe.
/// </para>
/// <para>An implementation guarantees:</para>
/// <list type="bullet">
/// <item>All nodes receive the messages of a group in the same order. Within an epoch, each message adds 1 to the
/// offset.</item>
/// <item>The backplane numbers, stores, retains and delivers a message in one atomic step.</item>
/// <item>If a publish returns a position, every subscribed node receives the message or a call of
/// <see cref="IBackplaneReceiver.OnLost"/>.</item>
/// <item>If a publish throws an exception, the backplane has published the message at most once.</item>
/// </list>
/// <para>The repository of this project contains a test suite for implementations.</para>
/// </remarks>
public interface IBackplane
{
    /// <summary>
    /// Starts the backplane. The broadcast calls this method once, before all other methods. Do slow work in the
    /// background.
    /// </summary>
    /// <param name="receiver">Receives messages, and reports of lost messages.</param>
    void Start(IBackplaneReceiver receiver);

    /// <summary>
    /// False if the backplane knows that the cluster is unreachable. If a client then needs a new subscription, the
    /// broadcast refuses the client with status 503. Default: true.
    /// </summary>
    bool IsReachable => true;

    /// <summary>
    /// Numbers a message, appends it to the history of the group, and delivers it to every subscribed node, including
    /// this node.
    /// </summary>
    /// <param name="group">The name of the group.</param>
    /// <param name="message">The message. The backplane copies the message before the call returns.</param>
    /// <param name="history">
    /// The limits of the history and of the retained values. With null, the backplane stores only the messages that
    /// nodes may need to catch up.
    /// </param>
    /// <param name="key">
    /// The key of the message. Null if the group does not retain messages, or if the message has no key.
    /// </param>
    /// <param name="cancellationToken">Cancels the call. The backplane may still publish the message.</param>
    /// <returns>The position of the message.</returns>
    /// <exception cref="InvalidOperationException">
    /// The group would retain more than <see cref="GroupOptions.MaxRetainedKeys"/> messages, or more than
    /// <see cref="GroupOptions.MaxRetainedBytes"/>. The backplane has not published the message.
    /// </exception>
    /// <exception cref="BackplaneException">
    /// The call did not succeed in time, or too many calls are already waiting. If
    /// <see cref="BackplaneException.DeliverLocally"/> is true, the broadcast delivers the message on this node only.
    /// </exception>
    ValueTask<Position> PublishAsync(
        string group,
        ReadOnlyMemory<byte> message,
        GroupOptions? history,
        RetainedKey? key = null,
        CancellationToken cancellationToken = default);

    /// <summary>
    /// Publishes a message like <see cref="PublishAsync"/>, unless any node has published a message with the same ID to
    /// the group within the window. The check and the publish are one atomic step.
    /// </summary>
    /// <remarks>
    /// The backplane stores an ID until the end of the window. The window starts with the publish. If the cluster loses
    /// a message, the backplane may also lose the ID.
    /// </remarks>
    /// <param name="group">The name of the group.</param>
    /// <param name="id">The ID: 1 to 128 characters.</param>
    /// <param name="window">The time for which the backplane stores the ID.</param>
    /// <param name="message">The message. The backplane copies the message before the call returns.</param>
    /// <param name="history">See <see cref="PublishAsync"/>.</param>
    /// <param name="key">See <see cref="PublishAsync"/>.</param>
    /// <param name="cancellationToken">Cancels the call. The backplane may still publish the message.</param>
    /// <returns>
    /// The position of the first message with this ID. <c>IsDuplicate</c> is true if an earlier call published that
    /// message. This call has then published nothing.
    /// </returns>
    /// <exception cref="InvalidOperationException">See <see cref="PublishAsync"/>.</exception>
    /// <exception cref="BackplaneException">See <see cref="PublishAsync"/>.</exception>
    ValueTask<(Position Position, bool IsDuplicate)> PublishOnceAsync(
        string group,
        string id,
        TimeSpan window,
        ReadOnlyMemory<byte> message,
        GroupOptions? history,
        RetainedKey? key = null,
        CancellationToken cancellationToken = default);

    /// <summary>
    /// Reserves an ID of a group for a later call of <see cref="PublishOnceAsync"/>, and stores a value with the
    /// reservation. If any node has already reserved the ID within the window, the call returns the value of this first
    /// reservation. The check and the reservation are one atomic step.
    /// </summary>
    /// <remarks>
    /// The call publishes nothing. A reservation has no effect on <see cref="PublishOnceAsync"/>: any node can publish
    /// a message with the ID.
    /// </remarks>
    /// <param name="group">The name of the group.</param>
    /// <param name="id">The ID: 1 to 128 characters.</param>
    /// <param name="window">
    /// The time for which the backplane stores the value. The window starts with the first reservation.
    /// </param>
    /// <param name="value">The value. The backplane copies the value before the call returns.</param>
    /// <param name="cancellationToken">Cancels the call. The backplane may still reserve the ID.</param>
    /// <returns>
    /// The value of the first reservation. Null if <see cref="PublishOnceAsync"/> would report a duplicate, because any
    /// node has published a message with this ID to the group.
    /// </returns>
    /// <exception cref="BackplaneException">
    /// The call did not succeed in time. The backplane may still reserve the ID.
    /// </exception>
    ValueTask<ReadOnlyMemory<byte>?> ReserveAsync(
        string group,
        string id,
        TimeSpan window,
        ReadOnlyMemory<byte> value,
        CancellationToken cancellationToken = default);

    /// <summary>
    /// Delivers a message to every subscribed node, including this node, but does not number or store the message. Each
    /// node receives the message after all messages that earlier calls on this node have published to the group.
    /// </summary>
    /// <remarks>
    /// A node that has to catch up with the group may miss the message. Every other node receives the message at the
    /// same place between two numbered messages.
    /// </remarks>
    /// <param name="group">The name of the group.</param>
    /// <param name="message">The message. The backplane copies the message before the call returns.</param>
    /// <param name="cancellationToken">Cancels the call. The backplane may still deliver the message.</param>
    /// <exception cref="BackplaneException">See <see cref="PublishAsync"/>.</exception>
    ValueTask PublishTransientAsync(
        string group, ReadOnlyMemory<byte> message, CancellationToken cancellationToken = default);

    /// <summary>
    /// Subscribes this node to a group. The node receives every message after the returned position. The first messages
    /// may arrive before the task completes.
    /// </summary>
    /// <remarks>
    /// Complete the task within a few seconds, because clients wait for the task. Before the task completes, all
    /// receiver calls for an earlier subscription to the group must have ended. The broadcast calls this method again
    /// for the same group only after <see cref="Unsubscribe"/> or <see cref="IBackplaneReceiver.OnLost"/>.
    /// </remarks>
    /// <param name="group">The name of the group.</param>
    /// <param name="history">The limits of the history and of the retained values.</param>
    /// <param name="cancellationToken">Cancels the call.</param>
    /// <exception cref="BackplaneException">The subscription did not succeed in time.</exception>
    ValueTask<BackplaneSubscription> SubscribeAsync(
        string group, GroupOptions? history, CancellationToken cancellationToken = default);

    /// <summary>Ends a subscription. The call has no effect without a subscription.</summary>
    /// <remarks>
    /// The broadcast does not call this method while <see cref="SubscribeAsync"/> is in progress for the group. Until
    /// the next subscription succeeds, the receiver accepts late calls for this subscription. The method must not
    /// throw.
    /// </remarks>
    /// <param name="group">The name of the group.</param>
    void Unsubscribe(string group);

    /// <summary>
    /// Adds a member of this node to a group, or changes the value of the member. The member stays until a call of
    /// <see cref="RemoveMember"/>. If the node of the member fails, the backplane removes the member after about 15
    /// seconds.
    /// </summary>
    /// <remarks>
    /// Calls for one member take effect in the order of the calls. While the cluster is unreachable, the backplane
    /// stores the changes and applies them later. The method must not throw.
    /// </remarks>
    /// <param name="group">The name of the group.</param>
    /// <param name="member">The name of the member. No other node has a member with this name in the group.</param>
    /// <param name="value">
    /// The value: at most <see cref="BroadcastOptions.MaxPresenceStateBytes"/>, plus the user ID and a few more bytes.
    /// The backplane copies the value before the call returns.
    /// </param>
    void SetMember(string group, string member, ReadOnlyMemory<byte> value);

    /// <summary>Removes a member of this node from a group. The method must not throw.</summary>
    /// <param name="group">The name of the group.</param>
    /// <param name="member">The name of the member.</param>
    void RemoveMember(string group, string member);

    /// <summary>Returns the members of a group on all nodes, in no particular order.</summary>
    /// <param name="group">The name of the group.</param>
    /// <param name="cancellationToken">Cancels the call.</param>
    /// <exception cref="BackplaneException">
    /// The call did not succeed in time. If <see cref="BackplaneException.DeliverLocally"/> is true, the broadcast
    /// delivers a message to a user or a connection on this node only.
    /// </exception>
    ValueTask<IReadOnlyList<BackplaneMember>> GetMembersAsync(
        string group, CancellationToken cancellationToken = default);

    /// <summary>Returns the number of members of a group on all nodes.</summary>
    /// <param name="group">The name of the group.</param>
    /// <param name="cancellationToken">Cancels the call.</param>
    /// <exception cref="BackplaneException">The call did not succeed in time.</exception>
    ValueTask<long> CountMembersAsync(string group, CancellationToken cancellationToken = default);
}
