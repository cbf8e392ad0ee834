using System.Buffers;
using System.Net.WebSockets;

namespace Broadcast.Middleware;

/// <summary>A protocol's messages as WebSocket frames.</summary>
/// <param name="protocol">The protocol.</param>
/// <param name="unsequenced">The same without sequence numbers; null if it has none.</param>
sealed class ProtocolFormat(IBroadcastProtocol protocol, ProtocolFormat? unsequenced = null) : WireFormat
{
    const int MaxKept = 1 << 20;

    [ThreadStatic]
    static ArrayBufferWriter<byte>? _payload;

    public override WireFormat Unsequenced => unsequenced ?? this;

    public override void Write(IBufferWriter<byte> to, MessageLog log, Block block, int index)
    {
        var bytes = block.PayloadOf(index, out var type);
        var facts = block[index].Exclusions;
        if (facts is { IsVerbatim: true })
        {
            WriteFrame(to, bytes.Span);
            return;
        }

        var payload = _payload ??= new();
        payload.ResetWrittenCount();
        var message = new Message(bytes, type) { IsJson = facts is { IsJson: true } };
        protocol.Write(payload, new OutgoingMessage(message, log.Name, facts?.Sender, unsequenced is null ? null : block[index].Sequence));
        WriteFrame(to, payload.WrittenSpan);
        if (payload.Capacity > MaxKept) _payload = null;
    }

    public override ReadOnlyMemory<byte> Opening(Connection connection, Position position, bool? recovered)
    {
        // It may leave its home group and come back.
        if (connection.IsAttached) return default;
        var connected = protocol.Connected(connection);
        return connected.IsEmpty ? default : ToFrame(connected.Span);
    }

    public override ReadOnlyMemory<byte> Closing(WebSocketCloseStatus status, string? reason)
    {
        var closing = protocol.Closing(status, reason);
        return closing.IsEmpty ? default : ToFrame(closing.Span);
    }

    public static byte[] ToFrame(ReadOnlySpan<byte> text)
    {
        var frame = new byte[Frame.Size(text.Length)];
        Frame.Write(frame, MessageType.Text, text);
        return frame;
    }

    static void WriteFrame(IBufferWriter<byte> to, ReadOnlySpan<byte> text)
    {
        var size = Frame.Size(text.Length);
        Frame.Write(to.GetSpan(size), MessageType.Text, text);
        to.Advance(size);
    }
}
