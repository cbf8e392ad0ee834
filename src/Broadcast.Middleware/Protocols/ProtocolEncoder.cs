using System.Buffers;
using Broadcast.Middleware.Logs;

namespace Broadcast.Middleware.Protocols;

/// <summary>Encodes messages as WebSocket frames of a protocol.</summary>
/// <param name="protocol">The protocol.</param>
/// <param name="unsequenced">
/// An encoder for the same protocol that writes no sequence IDs. Null if the protocol has no sequence IDs.
/// </param>
sealed class ProtocolEncoder(IBroadcastProtocol protocol, ProtocolEncoder? unsequenced = null) : EntryEncoder
{
    const int MaxKeptBufferBytes = 1 << 20;

    [ThreadStatic]
    static ArrayBufferWriter<byte>? _buffer;

    public override EntryEncoder Unsequenced => unsequenced ?? this;

    public override void Write(IBufferWriter<byte> output, MessageLog log, Block block, int index)
    {
        var payload = block.PayloadOf(index, out var type);
        var metadata = block[index].Metadata;
        if (metadata is { IsVerbatim: true })
        {
            WriteFrame(output, payload.Span);
            return;
        }

        var buffer = _buffer ??= new();
        buffer.ResetWrittenCount();
        var message = new Message(payload, type) { IsJson = metadata is { IsJson: true } };
        long? sequenceId = unsequenced is null ? null : block[index].Sequence;
        var group = log.Name ?? metadata?.SourceGroup;
        protocol.Write(buffer, new OutgoingMessage(message, group, metadata?.Sender, sequenceId));
        WriteFrame(output, buffer.WrittenSpan);
        if (buffer.Capacity > MaxKeptBufferBytes) _buffer = null;
    }

    static void WriteFrame(IBufferWriter<byte> output, ReadOnlySpan<byte> text)
    {
        var size = Frame.Size(text.Length);
        Frame.Write(output.GetSpan(size), MessageType.Text, text);
        output.Advance(size);
    }
}
