namespace Broadcast.Middleware;

/// <summary>The limits and times of a broadcast. They are checked when the app starts, all errors in one message.</summary>
public sealed class BroadcastOptions
{
    /// <summary>
    /// The largest message a client may send, in bytes, all its fragments together; a client that exceeds it is closed with 1009.
    /// Default 65,536. Range 1 to 1,073,741,824 (1 GiB).
    /// </summary>
    public int MaxMessageBytes { get; set; } = 64 * 1024;

    /// <summary>
    /// How many pieces of under 64 bytes a client's message may arrive in, empty fragments included, before the client is closed
    /// with 1009: fragments cost the server far more than they cost the sender. Default 1,024. Range 1 to 1,048,576.
    /// </summary>
    public int MaxSmallFragments { get; set; } = 1024;

    /// <summary>
    /// How many bytes of messages are kept, for each group, for connections that have not taken them yet; a connection that falls
    /// further behind is closed with 1013. It bounds the memory that slow readers cost, and the largest message that can be
    /// published. Default 1,048,576 (1 MiB). Range 1,024 to 1,073,741,824 (1 GiB), and not below <see cref="MaxMessageBytes"/>.
    /// </summary>
    public int MaxBacklogBytes { get; set; } = 1024 * 1024;

    /// <summary>
    /// How often a connection that is silent is sent a ping (RFC 6455, section 5.5.2). Default 15 seconds. Range 1 second to
    /// 1 day; <see cref="Timeout.InfiniteTimeSpan"/> for never.
    /// </summary>
    public TimeSpan KeepAliveInterval { get; set; } = TimeSpan.FromSeconds(15);

    /// <summary>
    /// How long the answer to a ping may take before the connection is cut off. Default 20 seconds. Range 1 second to 1 day;
    /// <see cref="Timeout.InfiniteTimeSpan"/> to wait for ever.
    /// </summary>
    public TimeSpan KeepAliveTimeout { get; set; } = TimeSpan.FromSeconds(20);

    /// <summary>
    /// How long a connection that is being closed has to take what was published before and to answer the close frame, before it
    /// is cut off. Default 5 seconds. Range 10 milliseconds to 1 hour.
    /// </summary>
    public TimeSpan CloseTimeout { get; set; } = TimeSpan.FromSeconds(5);
}
