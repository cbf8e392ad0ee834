namespace Broadcast.Middleware;

/// <summary>What happens to a client that is more than <see cref="BroadcastOptions.MaxBacklogBytes"/> behind.</summary>
public enum SlowConsumer
{
    /// <summary>
    /// The server closes the connection with 1013. The client can connect again and then receives new messages.
    /// </summary>
    Disconnect,

    /// <summary>
    /// The client stays connected, skips all waiting messages, and continues with the newest message. The metric
    /// <c>broadcast.messages.dropped</c> counts the skipped messages. Use this value if only the newest message
    /// matters.
    /// </summary>
    SkipToLatest,

    /// <summary>
    /// A slow client receives only the newest message of each <see cref="Message.Key"/>, in order, and all messages
    /// without a key. A client that keeps up receives every message. The server closes the connection with 1013 if the
    /// remaining messages have more than 64 KiB. The metric <c>broadcast.messages.dropped</c> counts the skipped
    /// messages.
    /// </summary>
    Conflate,
}
