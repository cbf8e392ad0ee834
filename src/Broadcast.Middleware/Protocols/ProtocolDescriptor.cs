using System.Buffers;
using System.Net.WebSockets;
using Broadcast.Middleware.Connections;
using Broadcast.Middleware.Delivery;
using Broadcast.Middleware.Logs;

namespace Broadcast.Middleware.Protocols;

/// <summary>A protocol and its encoder. All clients of the protocol share the encoder.</summary>
sealed class ProtocolDescriptor : ConnectionFormat
{
    readonly EntryEncoder? _encoder;
    readonly EntryEncoder? _homeGroupEncoder;

    public ProtocolDescriptor(IBroadcastProtocol protocol)
    {
        Protocol = protocol;
        if (IsRaw) return;
        _encoder = new ProtocolEncoder(protocol, IsReliable ? new(protocol, null) : null);
        _homeGroupEncoder = _encoder;
    }

    ProtocolDescriptor(RawProtocol protocol, EntryEncoder homeGroupEncoder, EntryEncoder encoder) =>
        (Protocol, _homeGroupEncoder, _encoder) = (protocol, homeGroupEncoder, encoder);

    /// <summary>The protocol of clients that request no subprotocol.</summary>
    public static ProtocolDescriptor Raw { get; } = new(new RawProtocol(""));

    /// <summary>The protocol of raw clients that receive positions: see <see cref="PositionEncoder"/>.</summary>
    public static ProtocolDescriptor Positions { get; } = new(
        new RawProtocol(PositionEncoder.Subprotocol), PositionEncoder.ForHomeGroup, PositionEncoder.ForOtherLogs);

    public IBroadcastProtocol Protocol { get; }

    /// <summary>True if the server publishes each message of the client unchanged.</summary>
    public bool IsRaw => Protocol is RawProtocol;

    public override bool IsReliable => Protocol is ReliableJsonProtocol;

    public override EntryEncoder? GetEncoder(bool isHomeGroup) => isHomeGroup ? _homeGroupEncoder : _encoder;

    public override ReadOnlyMemory<byte> GetOpening(IBroadcastConnection connection, string? reconnectionToken)
    {
        var message = Protocol is ReliableJsonProtocol
            ? JsonProtocol.Connected(connection, reconnectionToken)
            : Protocol.Connected(connection);
        return ToFrame(message);
    }

    public override ReadOnlyMemory<byte> GetHeartbeat(EndpointSettings settings) =>
        !IsRaw ? default : _encoder is null ? settings.HeartbeatFrame : settings.HeartbeatFrameWithHeader;

    public override ReadOnlyMemory<byte> GetClosing(WebSocketCloseStatus status, string? reason) =>
        ToFrame(Protocol.Closing(status, reason));

    /// <summary>Returns the text that a client receives for a text message of the app.</summary>
    public ReadOnlyMemory<byte> Encode(Message message)
    {
        if (IsRaw) return message.Payload;
        var output = new ArrayBufferWriter<byte>(message.Payload.Length + 128);
        Protocol.Write(output, new OutgoingMessage(message, null, null, null));
        return output.WrittenMemory;
    }

    /// <summary>
    /// Returns the protocol of the first requested subprotocol that the server knows. Returns null if the server knows
    /// none of the subprotocols.
    /// </summary>
    /// <param name="known">The known protocols. A later protocol takes precedence.</param>
    /// <param name="requested">The subprotocols that the client requested.</param>
    public static ProtocolDescriptor? Choose(IReadOnlyList<ProtocolDescriptor> known, IEnumerable<string> requested)
    {
        foreach (var subprotocol in requested)
        {
            for (var i = known.Count - 1; i >= 0; i--)
            {
                if (known[i].Protocol.Subprotocol == subprotocol) return known[i];
            }
        }

        return null;
    }

    static ReadOnlyMemory<byte> ToFrame(ReadOnlyMemory<byte> message) =>
        message.IsEmpty ? default : Frame.CreateText(message.Span);
}
