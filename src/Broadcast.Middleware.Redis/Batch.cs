using System.Buffers.Binary;
using System.Buffers.Text;

namespace Broadcast.Middleware;

/// <summary>Messages of one group that were numbered together: the body is, for each, four bytes of length and the message.</summary>
/// <param name="Epoch">The epoch, as Redis has it.</param>
/// <param name="Last">The offset of the last message.</param>
/// <param name="Count">How many.</param>
/// <param name="Before">The tag of the batch before; null where it is not known.</param>
/// <param name="Tag">Node and number: no two batches have the same.</param>
/// <param name="Body">The messages.</param>
readonly record struct Batch(string Epoch, long Last, int Count, string? Before, string Tag, ReadOnlyMemory<byte> Body)
{
    public const string None = "-";

    const int LengthBytes = 4;

    public long First => Last - Count + 1;

    public static int SizeOf(int message) => LengthBytes + message;

    public static void Append(byte[] body, ref int at, ReadOnlySpan<byte> message)
    {
        BinaryPrimitives.WriteInt32LittleEndian(body.AsSpan(at), message.Length);
        message.CopyTo(body.AsSpan(at + LengthBytes));
        at += LengthBytes + message.Length;
    }

    /// <summary>The next message of a body, which is cut off by it.</summary>
    public static ReadOnlyMemory<byte> Next(ref ReadOnlyMemory<byte> body)
    {
        var length = BinaryPrimitives.ReadInt32LittleEndian(body.Span);
        var message = body.Slice(LengthBytes, length);
        body = body[(LengthBytes + length)..];
        return message;
    }

    /// <summary>Reads what the script has published: epoch, last offset, count, tag before and tag, in a line; then the body.</summary>
    public static bool TryRead(ReadOnlyMemory<byte> published, out Batch batch)
    {
        batch = default;
        var end = published.Span.IndexOf((byte)'\n');
        if (end < 0) return false;
        var line = published.Span[..end];
        Span<Range> parts = stackalloc Range[6];
        var found = 0;
        foreach (var part in line.Split((byte)' '))
        {
            if (found == 5) return false;
            parts[found++] = part;
        }

        if (found != 5
            || !Utf8Parser.TryParse(line[parts[1]], out long last, out _)
            || !Utf8Parser.TryParse(line[parts[2]], out int count, out _)) return false;
        batch = new(Text(line[parts[0]]), last, count, Text(line[parts[3]]), Text(line[parts[4]]), published[(end + 1)..]);
        return true;

        static string Text(ReadOnlySpan<byte> ascii) => System.Text.Encoding.ASCII.GetString(ascii);
    }
}
