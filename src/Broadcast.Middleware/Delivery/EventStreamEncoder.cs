using System.Buffers;
using System.Buffers.Text;
using System.Globalization;
using System.Text;
using Broadcast.Middleware.Logs;

namespace Broadcast.Middleware.Delivery;

/// <summary>
/// Encodes messages as server-sent events (HTML Standard, section 9.2). A text message becomes <c>data</c> lines. A
/// binary message becomes base64 in an event named <c>binary</c>.
/// </summary>
/// <remarks>
/// Messages of the home group contain their position as <c>id</c>. A browser sends the last ID when the browser
/// reconnects.
/// </remarks>
sealed class EventStreamEncoder : EntryEncoder
{
    readonly bool _hasIds;

    EventStreamEncoder(bool hasIds) => _hasIds = hasIds;

    public static EventStreamEncoder ForHomeGroup { get; } = new(hasIds: true);

    public static EventStreamEncoder ForOtherLogs { get; } = new(hasIds: false);

    /// <summary>A comment of the event stream. Clients ignore comments.</summary>
    public static ReadOnlyMemory<byte> Comment { get; } = ":\n\n"u8.ToArray();

    public override bool IncludesPosition => _hasIds;

    /// <summary>
    /// Encodes an event about messages that the client missed. The data is the number of missed messages, or
    /// <c>unknown</c>.
    /// </summary>
    public static ReadOnlyMemory<byte> EncodeMissed(long? messages, string prefix = "")
    {
        var count = messages?.ToString(CultureInfo.InvariantCulture) ?? "unknown";
        return Encoding.UTF8.GetBytes($"{prefix}event: missed\ndata: {count}\n\n");
    }

    /// <summary>
    /// The ID of a close event after which the client must not reconnect. A browser still sends one request with this
    /// ID. The server answers with 204, and the browser then stops (HTML Standard, section 9.2.3).
    /// </summary>
    public const string FinalId = "closed";

    /// <summary>Encodes the last event of a stream, which corresponds to a close frame.</summary>
    public static ReadOnlyMemory<byte> EncodeClose(int status, string? reason, bool isFinal = false)
    {
        var code = status.ToString(CultureInfo.InvariantCulture);
        var id = isFinal ? $"id: {FinalId}\n" : "";
        return Encoding.UTF8.GetBytes($"event: close\n{id}data: {code} {reason?.ReplaceLineEndings(" ")}\n\n");
    }

    /// <summary>
    /// Encodes a heartbeat message as an event, because the script of a page receives events but no comments. The text
    /// has no line break.
    /// </summary>
    public static ReadOnlyMemory<byte> EncodeHeartbeat(string text) =>
        Encoding.UTF8.GetBytes($"event: heartbeat\ndata: {text}\n\n");

    /// <summary>Encodes the time that a browser waits before a reconnect.</summary>
    public static byte[] EncodeRetry(TimeSpan delay)
    {
        var milliseconds = ((long)delay.TotalMilliseconds).ToString(CultureInfo.InvariantCulture);
        return Encoding.UTF8.GetBytes($"retry: {milliseconds}\n\n");
    }

    public override ReadOnlyMemory<byte> EncodeStart(Position position, bool? recovered, long newestOffset)
    {
        if (!_hasIds) return default;
        // An ID without data dispatches no event, but the browser stores the ID. So a client can recover even if the
        // client has not received any message.
        return recovered is false ? EncodeMissed(null, $"id: {position}\n") : EncodePosition(position);
    }

    public override ReadOnlyMemory<byte> EncodePosition(Position position) =>
        _hasIds ? Encoding.UTF8.GetBytes($"id: {position}\n\n") : default;

    public override void Write(IBufferWriter<byte> output, MessageLog log, Block block, int index)
    {
        var payload = block.PayloadOf(index, out var type).Span;
        // The browser keeps the last ID, so a transient message without an ID does not affect the recovery.
        if (_hasIds && !log.IsTransient)
        {
            output.Write("id: "u8);
            output.Write(Encoding.ASCII.GetBytes(new Position(log.Epoch, block.OffsetOf(index)).ToString()));
            output.Write("\n"u8);
        }

        if (type == MessageType.Text) WriteLines(output, payload);
        else WriteBase64(output, payload);
        output.Write("\n"u8);
    }

    static void WriteLines(IBufferWriter<byte> output, ReadOnlySpan<byte> text)
    {
        while (true)
        {
            var end = text.IndexOfAny((byte)'\r', (byte)'\n');
            output.Write("data: "u8);
            output.Write(end < 0 ? text : text[..end]);
            output.Write("\n"u8);
            if (end < 0) return;
            var isPair = text[end] == '\r' && end + 1 < text.Length && text[end + 1] == '\n';
            text = text[(isPair ? end + 2 : end + 1)..];
        }
    }

    static void WriteBase64(IBufferWriter<byte> output, ReadOnlySpan<byte> bytes)
    {
        output.Write("event: binary\ndata: "u8);
        var span = output.GetSpan(Base64.GetMaxEncodedToUtf8Length(bytes.Length));
        Base64.EncodeToUtf8(bytes, span, out _, out var written);
        output.Advance(written);
        output.Write("\n"u8);
    }
}
