using System.Buffers;
using System.Buffers.Binary;
using System.Net.WebSockets;
using System.Text;

namespace Broadcast.Middleware.Logs;

/// <summary>
/// Reads and writes the frames of a WebSocket server (RFC 6455, section 5.2). Server frames are final and unmasked, so
/// the server can send the same bytes to every receiver.
/// </summary>
static class Frame
{
    public const int MaxHeaderSize = 10;
    public const byte Close = 8;

    const byte Pong = 10;
    const byte Final = 0x80;
    const byte Compressed = 0x40; // The bit RSV1.
    const byte OpcodeMask = 0x0F;

    public static int HeaderSize(int payload) => payload < 126 ? 2 : payload <= ushort.MaxValue ? 4 : 10;

    public static int Size(int payload) => HeaderSize(payload) + payload;

    /// <summary>Returns the size of the payload in a frame of <paramref name="size"/> bytes.</summary>
    public static int PayloadSize(int size) => size - (size <= 127 ? 2 : size <= ushort.MaxValue + 4 ? 4 : 10);

    public static byte Opcode(ReadOnlySpan<byte> frame) => (byte)(frame[0] & OpcodeMask);

    public static void Write(Span<byte> output, MessageType type, ReadOnlySpan<byte> payload) =>
        WriteFinal(output, (byte)type, payload);

    /// <summary>Writes a frame whose payload consists of two parts.</summary>
    public static void WriteParts(
        IBufferWriter<byte> output, MessageType type, ReadOnlySpan<byte> start, ReadOnlySpan<byte> end)
    {
        var length = start.Length + end.Length;
        var span = output.GetSpan(Size(length));
        var header = WriteHeader(span, (byte)type, length);
        start.CopyTo(span[header..]);
        end.CopyTo(span[(header + start.Length)..]);
        output.Advance(header + length);
    }

    /// <summary>Writes a frame whose payload is compressed (RFC 7692, section 6).</summary>
    public static void WriteCompressed(Span<byte> output, MessageType type, ReadOnlySpan<byte> payload) =>
        WriteFinal(output, (byte)(Compressed | (byte)type), payload);

    /// <summary>Creates a text frame.</summary>
    public static byte[] CreateText(ReadOnlySpan<byte> text)
    {
        var frame = new byte[Size(text.Length)];
        Write(frame, MessageType.Text, text);
        return frame;
    }

    /// <summary>Creates a pong frame.</summary>
    /// <param name="payload">The payload of the ping: at most 125 bytes.</param>
    public static byte[] CreatePong(ReadOnlySpan<byte> payload) => [Final | Pong, (byte)payload.Length, .. payload];

    /// <summary>Creates a close frame.</summary>
    /// <param name="status">The close code. 1005 for a frame without a code.</param>
    /// <param name="reason">The reason: at most 123 bytes in UTF-8.</param>
    public static byte[] CreateClose(WebSocketCloseStatus status, string? reason)
    {
        if (status == WebSocketCloseStatus.Empty) return [Final | Close, 0];
        var text = Encoding.UTF8.GetBytes(reason ?? "");
        var (high, low) = ((byte)((int)status >> 8), (byte)status);
        return [Final | Close, (byte)(sizeof(ushort) + text.Length), high, low, .. text];
    }

    /// <summary>Returns the code and the reason of a frame that <see cref="CreateClose"/> created.</summary>
    public static (WebSocketCloseStatus Status, string Reason) ReadClose(ReadOnlySpan<byte> frame) => frame.Length > 2
        ? ((WebSocketCloseStatus)BinaryPrimitives.ReadUInt16BigEndian(frame[2..]), Encoding.UTF8.GetString(frame[4..]))
        : (WebSocketCloseStatus.Empty, "");

    /// <summary>Removes the first frame from frames that <see cref="Write"/> wrote, and returns its payload.</summary>
    public static ReadOnlyMemory<byte> Next(ref ReadOnlyMemory<byte> frames, out MessageType type)
    {
        var span = frames.Span;
        type = (MessageType)Opcode(span);
        var (header, length) = span[1] switch
        {
            126 => (4, BinaryPrimitives.ReadUInt16BigEndian(span[2..])),
            127 => (10, (int)BinaryPrimitives.ReadUInt64BigEndian(span[2..])),
            var small => (2, small),
        };
        var payload = frames.Slice(header, length);
        frames = frames[(header + length)..];
        return payload;
    }

    static void WriteFinal(Span<byte> output, byte type, ReadOnlySpan<byte> payload) =>
        payload.CopyTo(output[WriteHeader(output, type, payload.Length)..]);

    /// <summary>Writes the header of a frame and returns the size of the header.</summary>
    static int WriteHeader(Span<byte> output, byte type, int length)
    {
        output[0] = (byte)(Final | type);
        var header = HeaderSize(length);
        switch (header)
        {
            case 2:
                output[1] = (byte)length;
                break;
            case 4:
                output[1] = 126;
                BinaryPrimitives.WriteUInt16BigEndian(output[2..], (ushort)length);
                break;
            default:
                output[1] = 127;
                BinaryPrimitives.WriteUInt64BigEndian(output[2..], (ulong)length);
                break;
        }

        return header;
    }
}
