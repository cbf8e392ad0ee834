using System.Buffers;
using System.Text;
using Broadcast.Middleware.Logs;

namespace Broadcast.Middleware.Protocols;

/// <summary>
/// Encodes messages for clients of <see cref="Subprotocol"/>. Each frame begins with a header line, which ends with a
/// line feed. The rest of the frame is the payload. A client that publishes a message controls only the payload, so the
/// client cannot forge a header.
/// </summary>
/// <remarks>
/// The header of a message in the group of the URL is the <see cref="Position"/> of the message. Transient messages and
/// messages from other sources have an empty header. After a client has joined the group of the URL, the client
/// receives a frame whose header has three parts, separated by spaces. The first part is <c>joined</c>,
/// <c>recovered</c> or <c>missed</c>. The second part is the position after which the client receives messages. The
/// third part is the position of the newest message. Messages up to the newest message are history. A heartbeat has the
/// header <c>heartbeat</c>.
/// </remarks>
sealed class PositionEncoder : EntryEncoder
{
    /// <summary>The subprotocol of raw clients that receive positions.</summary>
    public const string Subprotocol = "positions.broadcast.v1";

    readonly bool _isHomeGroup;

    PositionEncoder(bool isHomeGroup) => _isHomeGroup = isHomeGroup;

    public static PositionEncoder ForHomeGroup { get; } = new(isHomeGroup: true);

    public static PositionEncoder ForOtherLogs { get; } = new(isHomeGroup: false);

    public override bool IncludesPosition => _isHomeGroup;

    public override ReadOnlyMemory<byte> EncodeStart(Position position, bool? recovered, long newestOffset)
    {
        if (!_isHomeGroup) return default;
        var kind = recovered switch
        {
            true => "recovered",
            false => "missed",
            null => "joined",
        };
        var newest = new Position(position.Epoch, newestOffset);
        return Frame.CreateText(Encoding.ASCII.GetBytes($"{kind} {position} {newest}\n"));
    }

    public override void Write(IBufferWriter<byte> output, MessageLog log, Block block, int index)
    {
        var payload = block.PayloadOf(index, out var type).Span;
        // A transient message has no position: see Message.IsTransient.
        var header = _isHomeGroup && !log.IsTransient
            ? Encoding.ASCII.GetBytes($"{new Position(log.Epoch, block.OffsetOf(index))}\n")
            : "\n"u8;
        Frame.WriteParts(output, type, header, payload);
    }
}
