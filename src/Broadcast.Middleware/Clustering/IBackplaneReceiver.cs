namespace Broadcast.Middleware;

/// <summary>
/// Receives messages from an <see cref="IBackplane"/>. Calls for the same group must not overlap. Each call returns
/// quickly.
/// </summary>
public interface IBackplaneReceiver
{
    /// <summary>Receives the next message of a subscribed group.</summary>
    /// <param name="group">The name of the group.</param>
    /// <param name="position">
    /// The position of the message. The offset is one more than the offset of the previous message.
    /// </param>
    /// <param name="message">The message. The receiver copies the message before the call returns.</param>
    void OnMessage(string group, Position position, ReadOnlyMemory<byte> message);

    /// <summary>
    /// Receives a transient message of a subscribed group: see <see cref="IBackplane.PublishTransientAsync"/>. The
    /// message has no position, and the cluster does not store the message.
    /// </summary>
    /// <param name="group">The name of the group.</param>
    /// <param name="after">
    /// The position of the last message before this message. The offset is 0 if the group never had a message.
    /// </param>
    /// <param name="message">The message. The receiver copies the message before the call returns.</param>
    void OnTransientMessage(string group, Position after, ReadOnlyMemory<byte> message);

    /// <summary>
    /// Ends a subscription, because messages may be permanently missing. Either the cluster lost messages, or this node
    /// was disconnected for too long.
    /// </summary>
    /// <remarks>
    /// A call that arrives before a subscription succeeds may concern the previous subscription. Even then, the
    /// broadcast treats the new subscription as lost, and later subscribes again.
    /// </remarks>
    /// <param name="group">The name of the group.</param>
    void OnLost(string group);
}
