using System.Text;
using Broadcast.Middleware.Logs;

namespace Broadcast.Middleware.Delivery;

/// <summary>
/// The settings of the connections of one endpoint. Invariant: the object does not change, and all connections of the
/// endpoint share the object.
/// </summary>
/// <param name="options">The options of the endpoint.</param>
/// <param name="maxBacklogBytes">See <see cref="BroadcastOptions.MaxBacklogBytes"/>.</param>
/// <param name="compression">The compression of the endpoint. Null without compression.</param>
sealed class EndpointSettings(
    BroadcastEndpointOptions options, int maxBacklogBytes, CompressionSettings? compression = null)
{
    /// <summary>Creates the settings of an endpoint that has no options of its own.</summary>
    public EndpointSettings(BroadcastOptions options)
        : this(new BroadcastEndpointOptions(options), options.MaxBacklogBytes)
    {
    }

    public int MaxBacklogBytes { get; } = maxBacklogBytes;

    public int MaxMessageBytes { get; } = options.MaxMessageBytes;

    public int MaxSmallFragments { get; } = options.MaxSmallFragments;

    public int? MaxMessagesPerSecond { get; } = options.MaxMessagesPerSecond;

    public int? MaxMessageBurst { get; } = options.MaxMessageBurst;

    public TimeSpan FirstMessageTimeout { get; } = options.FirstMessageTimeout;

    /// <summary>Selects what the server does with a slow client in groups that have no setting of their own.</summary>
    public SlowConsumer SlowConsumer { get; } = options.SlowConsumer;

    /// <summary>See <see cref="BroadcastOptions.AllowClientFilters"/>.</summary>
    public bool AllowsClientFilters { get; } = options.AllowClientFilters;

    public CompressionSettings? Compression { get; } = compression;

    public TimeSpan SendTimeout { get; } = options.SendTimeout;

    public TimeSpan KeepAliveInterval { get; } = options.KeepAliveInterval;

    public TimeSpan KeepAliveTimeout { get; } = options.KeepAliveTimeout;

    public TimeSpan CloseTimeout { get; } = options.CloseTimeout;

    /// <summary>True if clients receive heartbeat messages.</summary>
    public bool HasHeartbeatMessages => !HeartbeatFrame.IsEmpty;

    public TimeSpan HeartbeatInterval { get; } = options.HeartbeatInterval;

    /// <summary>The heartbeat message as a text frame. Empty if the endpoint has no heartbeat message.</summary>
    public ReadOnlyMemory<byte> HeartbeatFrame { get; } =
        options.HeartbeatMessage is { } text ? Frame.CreateText(Encoding.UTF8.GetBytes(text)) : default;

    /// <summary>
    /// The heartbeat message as a text frame with a header line, for raw clients that receive positions. Empty if the
    /// endpoint has no heartbeat message.
    /// </summary>
    public ReadOnlyMemory<byte> HeartbeatFrameWithHeader { get; } =
        options.HeartbeatMessage is { } text ? Frame.CreateText(Encoding.UTF8.GetBytes("heartbeat\n" + text)) : default;

    /// <summary>The heartbeat message as a server-sent event. Empty if the endpoint has no heartbeat message.</summary>
    public ReadOnlyMemory<byte> HeartbeatEvent { get; } =
        options.HeartbeatMessage is { } text ? EventStreamEncoder.EncodeHeartbeat(text) : default;

    /// <summary>The first bytes of an event stream. Null if the endpoint has no retry delay.</summary>
    public byte[]? EventStreamRetry { get; } =
        options.EventStreamRetryDelay is { } delay ? EventStreamEncoder.EncodeRetry(delay) : null;
}
