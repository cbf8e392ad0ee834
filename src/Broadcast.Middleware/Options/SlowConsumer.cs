namespace Broadcast.Middleware;

/// <summary>
/// Selects what the server does with a client that is more than <see cref="BroadcastOptions.MaxBacklogBytes"/> behind.
/// </summary>
public enum SlowConsumer
{
    /// <summary>
    /// The server closes the connection with close code 1013. After the client connects again, the client receives new
    /// messages.
    /// </summary>
    Disconnect,

    /// <summary>
    /// The client stays connected, skips all waiting messages, and continues with the newest message for the client.
    /// The metric <c>broadcast.messages.dropped</c> counts the skipped messages. Use this value if only the newest
    /// message matters.
    /// </summary>
    SkipToLatest,

    /// <summary>
    /// A slow client receives all messages without a key, and the newest message of each <see cref="Message.Key"/>. The
    /// messages keep their order. A client that is fast enough receives every message. If the remaining messages have
    /// more than 64 KiB, the server closes the connection with close code 1013. The server also drops replaced messages
    /// after a write that took at least 50 milliseconds. The metric <c>broadcast.messages.dropped</c> counts the
    /// dropped messages.
    /// </summary>
    Conflate,
}
