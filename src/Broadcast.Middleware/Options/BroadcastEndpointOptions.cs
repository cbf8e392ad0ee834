namespace Broadcast.Middleware;

/// <summary>
/// The options of one URL. <c>MapBroadcast(pattern, options => …)</c> starts with the option values of the broadcast.
/// Set only the options that differ.
/// </summary>
/// <remarks>
/// A connection keeps the options of the URL to which the client connected. The app checks the options when it starts
/// and reports all errors of a URL in one message.
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
        IsOriginAllowed = options.IsOriginAllowed;
        GroupScope = options.GroupScope;
        RawSubprotocols = [.. options.RawSubprotocols];
        AllowClientFilters = options.AllowClientFilters;
        SlowConsumer = options.SlowConsumer;
        CompressMessagesAbove = options.CompressMessagesAbove;
        SendTimeout = options.SendTimeout;
        KeepAliveInterval = options.KeepAliveInterval;
        KeepAliveTimeout = options.KeepAliveTimeout;
        CloseTimeout = options.CloseTimeout;
        HeartbeatMessage = options.HeartbeatMessage;
        HeartbeatInterval = options.HeartbeatInterval;
        EventStreamRetryDelay = options.EventStreamRetryDelay;
    }

    /// <summary>
    /// The maximum size of a message from a client, in bytes. If a client sends a larger message, the server closes the
    /// connection with close code 1009. The value must not exceed <see cref="BroadcastOptions.MaxBacklogBytes"/>.
    /// Default: <see cref="BroadcastOptions.MaxMessageBytes"/>. Range: 1 to 1,073,741,824.
    /// </summary>
    public int MaxMessageBytes { get; set; }

    /// <summary>
    /// The maximum number of small fragments in one message from a client. A fragment is small if it has less than 64
    /// bytes. If a message has more small fragments, the server closes the connection with close code 1009. Default:
    /// <see cref="BroadcastOptions.MaxSmallFragments"/>. Range: 1 to 1,048,576.
    /// </summary>
    public int MaxSmallFragments { get; set; }

    /// <summary>
    /// The maximum number of messages that a client may send per second, on average. If a client sends more messages,
    /// the server closes the connection with close code 1008. Null means no limit. Default:
    /// <see cref="BroadcastOptions.MaxMessagesPerSecond"/>. Range: 1 to 1,000,000.
    /// </summary>
    public int? MaxMessagesPerSecond { get; set; }

    /// <summary>
    /// The maximum number of messages that a client may send at once after a pause. The option needs
    /// <see cref="MaxMessagesPerSecond"/>. Null means the value of <see cref="MaxMessagesPerSecond"/>. Default:
    /// <see cref="BroadcastOptions.MaxMessageBurst"/>. Range: 1 to 1,000,000.
    /// </summary>
    public int? MaxMessageBurst { get; set; }

    /// <summary>
    /// How long the server waits for the first message of a client. If no message arrives in time, the server closes
    /// the connection with close code 1008. Default: <see cref="BroadcastOptions.FirstMessageTimeout"/>. Range: 1
    /// second to 1 day, or <see cref="Timeout.InfiniteTimeSpan"/>.
    /// </summary>
    public TimeSpan FirstMessageTimeout { get; set; }

    /// <summary>
    /// The origins whose pages may connect, such as <c>https://example.com</c>. <c>https://*.example.com</c> allows all
    /// subdomains. <c>*</c> allows every origin. The list is a copy, so a change affects only this URL. Default:
    /// <see cref="BroadcastOptions.AllowedOrigins"/>.
    /// </summary>
    public IList<string> AllowedOrigins { get; }

    /// <summary>
    /// Decides whether the pages of an origin may connect if <see cref="AllowedOrigins"/> does not allow the origin.
    /// Default: <see cref="BroadcastOptions.IsOriginAllowed"/>.
    /// </summary>
    public Func<string, bool>? IsOriginAllowed { get; set; }

    /// <summary>
    /// The first part of the names of this URL's groups. Null means the required host and the path base of the request.
    /// Endpoints with the same text share the groups of the same path. With a text, the names of these groups can start
    /// without a slash. An <see cref="IGroupAuthorizer"/> must consider such names. Default:
    /// <see cref="BroadcastOptions.GroupScope"/>.
    /// </summary>
    public string? GroupScope { get; set; }

    /// <summary>
    /// The subprotocols that the server accepts. The server does not change the messages of these subprotocols. The
    /// list is a copy, so a change affects only this URL. Default: <see cref="BroadcastOptions.RawSubprotocols"/>.
    /// </summary>
    public IList<string> RawSubprotocols { get; }

    /// <summary>
    /// True if a client of this URL may choose a <see cref="SubscriptionFilter"/>. Default:
    /// <see cref="BroadcastOptions.AllowClientFilters"/>.
    /// </summary>
    public bool AllowClientFilters { get; set; }

    /// <summary>
    /// Selects what the server does with a client that is more than <see cref="BroadcastOptions.MaxBacklogBytes"/>
    /// behind. The option applies in all groups that do not set <see cref="GroupOptions.SlowConsumer"/>. Default:
    /// <see cref="BroadcastOptions.SlowConsumer"/>.
    /// </summary>
    public SlowConsumer SlowConsumer { get; set; }

    /// <summary>
    /// The payload size in bytes above which the server compresses a message. The server measures the size in the
    /// format of the client's protocol. Clients without compression (<c>permessage-deflate</c>, RFC 7692) receive
    /// uncompressed messages. Null means no compression. Default:
    /// <see cref="BroadcastOptions.CompressMessagesAbove"/>. Range: 0 to 1,073,741,824.
    /// </summary>
    public int? CompressMessagesAbove { get; set; }

    /// <summary>
    /// How long a write to a client may stall. After this time, the server aborts the connection. Default:
    /// <see cref="BroadcastOptions.SendTimeout"/>. Range: 1 second to 1 day, or <see cref="Timeout.InfiniteTimeSpan"/>.
    /// </summary>
    public TimeSpan SendTimeout { get; set; }

    /// <summary>
    /// How long a client may be silent before the server sends a ping. Default:
    /// <see cref="BroadcastOptions.KeepAliveInterval"/>. Range: 1 second to 1 day, or
    /// <see cref="Timeout.InfiniteTimeSpan"/>.
    /// </summary>
    public TimeSpan KeepAliveInterval { get; set; }

    /// <summary>
    /// How long the server waits for the answer to a ping. If no answer arrives in time, the server aborts the
    /// connection. Default: <see cref="BroadcastOptions.KeepAliveTimeout"/>. Range: 1 second to 1 day, or
    /// <see cref="Timeout.InfiniteTimeSpan"/>.
    /// </summary>
    public TimeSpan KeepAliveTimeout { get; set; }

    /// <summary>
    /// How long the server waits for the client when the server closes a connection. During this time, the client must
    /// receive earlier messages and answer the close frame. Otherwise, the server aborts the connection. Default:
    /// <see cref="BroadcastOptions.CloseTimeout"/>. Range: 10 milliseconds to 1 hour.
    /// </summary>
    public TimeSpan CloseTimeout { get; set; }

    /// <summary>
    /// A text that raw WebSocket clients receive every <see cref="HeartbeatInterval"/>. Clients of event streams
    /// receive the text as an event with the name <c>heartbeat</c>. Null means no heartbeat messages. Default:
    /// <see cref="BroadcastOptions.HeartbeatMessage"/>.
    /// </summary>
    public string? HeartbeatMessage { get; set; }

    /// <summary>
    /// The time between two heartbeat messages. Default: <see cref="BroadcastOptions.HeartbeatInterval"/>. Range: 1
    /// second to 1 day.
    /// </summary>
    public TimeSpan HeartbeatInterval { get; set; }

    /// <summary>
    /// How long a browser waits before it opens an event stream again. Null means that the browser decides. Default:
    /// <see cref="BroadcastOptions.EventStreamRetryDelay"/>. Range: 100 milliseconds to 1 hour.
    /// </summary>
    public TimeSpan? EventStreamRetryDelay { get; set; }
}
