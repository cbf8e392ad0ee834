namespace Broadcast.Middleware;

/// <summary>
/// The behavior of a publish while Redis is unreachable. See <see cref="RedisBackplaneOptions.WhenUnreachable"/>.
/// </summary>
/// <remarks>
/// Redis is unreachable while this node has no connection to the master of the group. After the start of the app, a
/// publish waits up to two seconds for the first connect.
/// </remarks>
public enum WhenUnreachable
{
    /// <summary>
    /// The message waits in the outbox until Redis is reachable. The publish fails if the outbox is full or
    /// <see cref="RedisBackplaneOptions.PublishTimeout"/> expires.
    /// </summary>
    Wait,

    /// <summary>The publish fails immediately.</summary>
    Fail,

    /// <summary>
    /// The publish succeeds, but only the connections of this node receive the message. The message has no position,
    /// and the history does not contain the message. Other nodes never receive the message.
    /// <see cref="PublishResult.IsLocalOnly"/> is true, and the metric <c>broadcast.messages.local_only</c> counts the
    /// message. For the first such message, the node logs a warning. If the connection is lost while Redis processes a
    /// message, the publish of this message waits as with <see cref="Wait"/>. While Redis is unreachable, a publish
    /// with a <see cref="Message.Id"/> fails, so that a later retry reaches each client once.
    /// </summary>
    Local,
}
