using System.Buffers;
using System.Buffers.Text;
using System.Globalization;
using System.Text;

namespace Broadcast.Middleware;

/// <summary>
/// Server-sent events (HTML, section 9.2): text as <c>data</c> lines, binary as base64 in an event named <c>binary</c>. Messages of the home
/// group carry their position as <c>id</c>, so that a browser that connects again can say where it was.
/// </summary>
sealed class EventStreamFormat : WireFormat
{
    readonly bool _hasIds;

    EventStreamFormat(bool hasIds) => _hasIds = hasIds;

    public static EventStreamFormat OfHomeGroup { get; } = new(hasIds: true);

    public static EventStreamFormat OfOthers { get; } = new(hasIds: false);

    public override bool TellsPosition => _hasIds;

    /// <summary>A comment, which clients ignore.</summary>
    public static ReadOnlyMemory<byte> Comment { get; } = ":\n\n"u8.ToArray();

    /// <summary>Tells that messages are missing: how many, or <c>unknown</c>.</summary>
    public static ReadOnlyMemory<byte> Missed(long? messages, string before = "") => Encoding.UTF8.GetBytes(
        $"{before}event: missed\ndata: {messages?.ToString(CultureInfo.InvariantCulture) ?? "unknown"}\n\n");

    /// <summary>What takes the place of a close frame.</summary>
    public static ReadOnlyMemory<byte> Close(int status, string? reason) => Encoding.UTF8.GetBytes(
        $"event: close\ndata: {string.Create(CultureInfo.InvariantCulture, $"{status}")} {reason?.ReplaceLineEndings(" ")}\n\n");

    public override ReadOnlyMemory<byte> Opening(Connection connection, Position position, bool? recovered)
    {
        if (!_hasIds) return default;
        // An id alone is no event, but is remembered: from here a client can come back before it has had a message.
        var id = $"id: {position}\n";
        return recovered is false ? Missed(null, id) : Encoding.UTF8.GetBytes(id + "\n");
    }

    public override void Write(IBufferWriter<byte> to, MessageLog log, Block block, int index)
    {
        var payload = block.PayloadOf(index, out var type).Span;
        if (_hasIds)
        {
            to.Write("id: "u8);
            to.Write(Encoding.ASCII.GetBytes(new Position(log.Epoch, block.OffsetOf(index)).ToString()));
            to.Write("\n"u8);
        }

        if (type == MessageType.Text) WriteLines(to, payload);
        else WriteBase64(to, payload);
        to.Write("\n"u8);
    }

    static void WriteLines(IBufferWriter<byte> to, ReadOnlySpan<byte> text)
    {
        while (true)
        {
            var end = text.IndexOfAny((byte)'\r', (byte)'\n');
            to.Write("data: "u8);
            to.Write(end < 0 ? text : text[..end]);
            to.Write("\n"u8);
            if (end < 0) return;
            var isPair = text[end] == '\r' && end + 1 < text.Length && text[end + 1] == '\n';
            text = text[(isPair ? end + 2 : end + 1)..];
        }
    }

    static void WriteBase64(IBufferWriter<byte> to, ReadOnlySpan<byte> bytes)
    {
        to.Write("event: binary\ndata: "u8);
        Base64.EncodeToUtf8(bytes, to.GetSpan(Base64.GetMaxEncodedToUtf8Length(bytes.Length)), out _, out var written);
        to.Advance(written);
        to.Write("\n"u8);
    }
}
