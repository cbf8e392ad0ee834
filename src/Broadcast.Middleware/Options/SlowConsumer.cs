namespace Broadcast.Middleware;

/// <summary>
/// What becomes of a connection that falls further behind than <see cref="BroadcastOptions.MaxBacklogBytes"/>.
/// </summary>
public enum SlowConsumer
{
    /// <summary>It is closed with 1013, and the client connects again, if it likes, and starts afresh.</summary>
    Disconnect,

    /// <summary>
    /// It stays, and goes on with what is published from then on; what it missed is counted by
    /// <c>broadcast.messages.dropped</c>. For data of which only the present counts.
    /// </summary>
    SkipToLatest,

    /// <summary>
    /// A connection that lags is given only the newest message of each key (<see cref="Message.Key"/>), in order, and
    /// all messages without one; connections that keep up get everything. If what is left is more than 64 KiB when the
    /// limit is reached, it is closed as with <see cref="Disconnect"/>. What was left out is counted by
    /// <c>broadcast.messages.dropped</c>.
    /// </summary>
    Conflate,
}
