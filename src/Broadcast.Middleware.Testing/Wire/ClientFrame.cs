using System.Buffers.Binary;
using System.Net.WebSockets;
using System.Text;

namespace Broadcast.Middleware.Testing.Wire;

/// <summary>Builds client frames (RFC 6455, section 5.2), including invalid frames.</summary>
static class ClientFrame
{
    public const int Continuation = 0, Text = 1, Binary = 2, Close = 8, Ping = 9, Pong = 10;

    static readonly byte[] MaskingKey = [0x37, 0xfa, 0x21, 0x3d];

    /// <param name="opcode">The opcode, 0 to 15.</param>
    /// <param name="payload">The bytes after the header.</param>
    /// <param name="fin">True for the last fragment.</param>
    /// <param name="rsv">The reserved bits, 0 to 7.</param>
    /// <param name="mask">True to mask the payload, as a client must.</param>
    /// <param name="declared">The length in the header, if it differs from the payload's length.</param>
    public static byte[] Make(
        int opcode, ReadOnlySpan<byte> payload, bool fin = true, int rsv = 0, bool mask = true, ulong? declared = null)
    {
        var length = declared ?? (ulong)payload.Length;
        Span<byte> header = stackalloc byte[14];
        header[0] = (byte)((fin ? 0x80 : 0) | (rsv << 4) | opcode);
        var size = 2;
        if (length < 126)
        {
            header[1] = (byte)length;
        }
        else if (length <= ushort.MaxValue)
        {
            header[1] = 126;
            BinaryPrimitives.WriteUInt16BigEndian(header[2..], (ushort)length);
            size = 4;
        }
        else
        {
            header[1] = 127;
            BinaryPrimitives.WriteUInt64BigEndian(header[2..], length);
            size = 10;
        }

        if (mask)
        {
            header[1] |= 0x80;
            MaskingKey.CopyTo(header[size..]);
            size += 4;
        }

        var frame = new byte[size + payload.Length];
        header[..size].CopyTo(frame);
        for (var i = 0; i < payload.Length; i++)
            frame[size + i] = (byte)(payload[i] ^ (mask ? MaskingKey[i % 4] : 0));
        return frame;
    }

    public static byte[] CreateText(string text) => Make(Text, Encoding.UTF8.GetBytes(text));

    public static byte[] CreateClose(int code, string reason = "") =>
        Make(Close, [(byte)(code >> 8), (byte)code, .. Encoding.UTF8.GetBytes(reason)]);

    public static byte[] CreateClose(WebSocketCloseStatus code, string? reason = "") =>
        CreateClose((int)code, reason ?? "");
}
