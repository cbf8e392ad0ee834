using System.Buffers.Binary;

namespace Broadcast.Middleware;

/// <summary>
/// The wire format of a server's data frame (RFC 6455, section 5.2): final, unmasked, so that the same bytes serve every receiver.
/// </summary>
static class Frame
{
    public const int MaxHeaderSize = 10;
    public const byte Close = 8;

    const byte Final = 0x80;
    const byte OpcodeMask = 0x0F;

    public static int HeaderSize(int payload) => payload < 126 ? 2 : payload <= ushort.MaxValue ? 4 : 10;

    public static int Size(int payload) => HeaderSize(payload) + payload;

    public static byte Opcode(ReadOnlySpan<byte> frame) => (byte)(frame[0] & OpcodeMask);

    public static void Write(Span<byte> to, MessageType type, ReadOnlySpan<byte> payload)
    {
        to[0] = (byte)(Final | (byte)type);
        var header = HeaderSize(payload.Length);
        switch (header)
        {
            case 2:
                to[1] = (byte)payload.Length;
                break;
            case 4:
                to[1] = 126;
                BinaryPrimitives.WriteUInt16BigEndian(to[2..], (ushort)payload.Length);
                break;
            default:
                to[1] = 127;
                BinaryPrimitives.WriteUInt64BigEndian(to[2..], (ulong)payload.Length);
                break;
        }

        payload.CopyTo(to[header..]);
    }

    /// <summary>Takes the first frame off a run of frames written by <see cref="Write"/>.</summary>
    public static ReadOnlyMemory<byte> Next(ref ReadOnlyMemory<byte> run, out MessageType type)
    {
        var span = run.Span;
        type = (MessageType)Opcode(span);
        var (header, length) = span[1] switch
        {
            126 => (4, BinaryPrimitives.ReadUInt16BigEndian(span[2..])),
            127 => (10, (int)BinaryPrimitives.ReadUInt64BigEndian(span[2..])),
            var small => (2, small),
        };
        var payload = run.Slice(header, length);
        run = run[(header + length)..];
        return payload;
    }
}
