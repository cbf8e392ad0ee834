using System.Buffers.Text;
using System.Diagnostics;

namespace Broadcast.Redis.Benchmarks;

/// <summary>
/// A payload of 120 ASCII bytes. The payload starts with a timestamp and a number. Both have 16 hexadecimal digits.
/// </summary>
static class Payload
{
    public const int Length = 120;
    const int Digits = 16;

    public static byte[] Bytes(long stamp, int number)
    {
        var bytes = new byte[Length];
        bytes.AsSpan().Fill((byte)'.');
        stamp.TryFormat(bytes, out _, "x16");
        number.TryFormat(bytes.AsSpan(Digits), out _, "x16");
        return bytes;
    }

    public static string Text(long stamp, int number) => string.Create(Length, (stamp, number), static (chars, of) =>
    {
        chars.Fill('.');
        of.stamp.TryFormat(chars, out _, "x16");
        of.number.TryFormat(chars[Digits..], out _, "x16");
    });

    public static (long Stamp, int Number) Read(ReadOnlySpan<byte> payload)
    {
        if (!Utf8Parser.TryParse(payload[..Digits], out long stamp, out _, 'x') || !Utf8Parser.TryParse(payload.Slice(Digits, Digits), out int number, out _, 'x'))
            throw new UnreachableException("The message does not start with a timestamp and a number.");
        return (stamp, number);
    }
}
