namespace Broadcast.Middleware;

/// <summary>
/// The options of one URL. <c>MapBroadcast(pattern, options => …)</c> starts with the values of the broadcast, so you
/// set only the options that differ.
/// </summary>
/// <remarks>
/// A connection keeps the options of the URL at which it was opened. The app checks the options when it starts and
/// reports all errors of a URL in one message.
/// </remarks>
public sealed class BroadcastEndpointOptions
{
    internal BroadcastEndpointOptions(BroadcastOptions options)
    {
        MaxMessageBytes = options.MaxMessageBytes;
        MaxSmallFragments = options.MaxSmallFragments;
        MaxMessagesPerSecond = options.MaxMessagesPerSecond;
        MaxMessageBurst = options.MaxMessageBurst;
        FirstMessageTimeout = options.FirstMessageTimeout;
        AllowedOrigins = [.. options.AllowedOrigins];
        SlowConsumer = options.SlowConsumer;
        SendTimeout = options.SendTimeout;
        KeepAliveInterval = options.KeepAliveInterval;
        KeepAliveTimeout = options.KeepAliveTimeout;
        CloseTimeout = options.CloseTimeout;
    }

    /// <summary>
    /// The maximum size of a message from a client, in bytes. The server closes a client that sends a larger message
    /// with 1009. The value must not exceed <see cref="BroadcastOptions.MaxBacklogBytes"/>. Default:
    /// <see cref="BroadcastOptions.MaxMessageBytes"/>. Range: 1 to 1,073,741,824.
    /// </summary>
    public int MaxMessageBytes { get; set; }

    /// <summary>
    /// The maximum number of fragments with less than 64 bytes in one message from a client. The server closes a client
    /// that sends more with 1009. Default: <see cref="BroadcastOptions.MaxSmallFragments"/>. Range: 1 to 1,048,576.
    /// </summary>
    public int MaxSmallFragments { get; set; }

    /// <summary>
    /// The maximum number of messages that a client may send per second, on average. The server closes a client that
    /// sends more with 1008. Null means no limit. Default: <see cref="BroadcastOptions.MaxMessagesPerSecond"/>. Range:
    /// 1 to 1,000,000.
    /// </summary>
    public int? MaxMessagesPerSecond { get; set; }

    /// <summary>
    /// The maximum number of messages that a client may send at once after a pause. It needs
    /// <see cref="MaxMessagesPerSecond"/>. Null means the messages of one second. Default:
    /// <see cref="BroadcastOptions.MaxMessageBurst"/>. Range: 1 to 1,000,000.
    /// </summary>
    public int? MaxMessageBurst { get; set; }

    /// <summary>
    /// The time in which a client must send its first message. The server closes a later client with 1008. Default:
    /// <see cref="BroadcastOptions.FirstMessageTimeout"/>. Range: 1 second to 1 day, or
    /// <see cref="Timeout.InfiniteTimeSpan"/>.
    /// </summary>
    public TimeSpan FirstMessageTimeout { get; set; }

    /// <summary>
    /// The origins whose pages may connect, such as <c>https://example.com</c>. <c>*</c> allows every origin. The list
    /// is a copy, so a change affects only this URL. Default: <see cref="BroadcastOptions.AllowedOrigins"/>.
    /// </summary>
    public IList<string> AllowedOrigins { get; }

    /// <summary>
    /// What happens to a client that falls further behind than <see cref="BroadcastOptions.MaxBacklogBytes"/>. The
    /// option applies in all groups without their own <see cref="GroupOptions.SlowConsumer"/>. Default:
    /// <see cref="BroadcastOptions.SlowConsumer"/>.
    /// </summary>
    public SlowConsumer SlowConsumer { get; set; }

    /// <summary>
    /// The time for which a write to a client may stall. The server then aborts the connection. Default:
    /// <see cref="BroadcastOptions.SendTimeout"/>. Range: 1 second to 1 day, or <see cref="Timeout.InfiniteTimeSpan"/>.
    /// </summary>
    public TimeSpan SendTimeout { get; set; }

    /// <summary>
    /// The silence of a client after which the server sends a ping. Default:
    /// <see cref="BroadcastOptions.KeepAliveInterval"/>. Range: 1 second to 1 day, or
    /// <see cref="Timeout.InfiniteTimeSpan"/>.
    /// </summary>
    public TimeSpan KeepAliveInterval { get; set; }

    /// <summary>
    /// The time in which a client must answer a ping. The server then aborts the connection. Default:
    /// <see cref="BroadcastOptions.KeepAliveTimeout"/>. Range: 1 second to 1 day, or
    /// <see cref="Timeout.InfiniteTimeSpan"/>.
    /// </summary>
    public TimeSpan KeepAliveTimeout { get; set; }

    /// <summary>
    /// The time in which a client must receive earlier messages and answer the close frame. The server then aborts the
    /// connection. Default: <see cref="BroadcastOptions.CloseTimeout"/>. Range: 10 milliseconds to 1 hour.
    /// </summary>
    public TimeSpan CloseTimeout { get; set; }
}
