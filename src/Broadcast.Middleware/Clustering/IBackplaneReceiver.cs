namespace Broadcast.Middleware;

/// <summary>
/// Receives messages from an <see cref="IBackplane"/>. The calls for one group never overlap, and they return quickly.
/// </summary>
public interface IBackplaneReceiver
{
    /// <summary>Receives the next message of a subscribed group.</summary>
    /// <param name="group">The name of the group.</param>
    /// <param name="position">The position. Its offset is one more than the offset of the previous message.</param>
    /// <param name="message">The message. The receiver copies it before the call returns.</param>
    void OnMessage(string group, Position position, ReadOnlyMemory<byte> message);

    /// <summary>
    /// Ends a subscription whose messages may be permanently missing. The cluster lost them, or this node was
    /// disconnected for too long.
    /// </summary>
    /// <remarks>
    /// A call before a subscription has succeeded may concern the previous subscription. In both cases, the broadcast
    /// subscribes again.
    /// </remarks>
    /// <param name="group">The name of the group.</param>
    void OnLost(string group);
}
