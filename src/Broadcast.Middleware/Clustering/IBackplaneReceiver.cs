namespace Broadcast.Middleware;

/// <summary>
/// Receives messages from an <see cref="IBackplane"/>. Calls about one group come one after the other and return
/// quickly.
/// </summary>
public interface IBackplaneReceiver
{
    /// <summary>Receives the next message of a subscribed group.</summary>
    /// <param name="group">The name of the group.</param>
    /// <param name="position">The position. Its offset is one more than that of the message before.</param>
    /// <param name="message">The message. The receiver copies it before the call returns.</param>
    void OnMessage(string group, Position position, ReadOnlyMemory<byte> message);

    /// <summary>
    /// Ends a subscription whose messages may be missing for good: the cluster lost them, or this node was away for too
    /// long.
    /// </summary>
    /// <remarks>
    /// A call that comes before a subscription has succeeded may be about the subscription before. The broadcast
    /// subscribes again in both cases.
    /// </remarks>
    /// <param name="group">The name of the group.</param>
    void OnLost(string group);
}
