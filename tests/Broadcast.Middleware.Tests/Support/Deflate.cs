using System.IO.Compression;
using System.Text;

namespace Broadcast.Middleware.Tests.Support;

/// <summary>Compresses and decompresses messages with <see cref="DeflateStream"/> (RFC 7692, section 7.2).</summary>
static class Deflate
{
    static readonly byte[] _tail = [0x00, 0x00, 0xFF, 0xFF];

    /// <summary>Returns the compressed payload of a message, without the last four bytes (RFC 7692, section 7.2.1).</summary>
    public static byte[] Compress(ReadOnlySpan<byte> payload, CompressionLevel level = CompressionLevel.Optimal)
    {
        var output = new MemoryStream();
        using var deflate = new DeflateStream(output, level);
        deflate.Write(payload);
        deflate.Flush();
        // Without data, the stream writes nothing. An empty message is compressed to one empty block (RFC 7692, section
        // 7.2.3.6).
        var compressed = output.ToArray();
        return compressed.Length == 0 ? [0x00] : compressed[..^_tail.Length];
    }

    public static byte[] Compress(string text) => Compress(Encoding.UTF8.GetBytes(text));

    /// <summary>Returns the payload of a compressed message.</summary>
    public static byte[] Decompress(ReadOnlySpan<byte> compressed)
    {
        using var inflate = new DeflateStream(new MemoryStream([.. compressed, .. _tail]), CompressionMode.Decompress);
        var output = new MemoryStream();
        inflate.CopyTo(output);
        return output.ToArray();
    }

    /// <summary>Returns text that compresses to about a third of its size.</summary>
    public static string Json(int length, int seed = 0)
    {
        var random = new Random(seed);
        var text = new StringBuilder();
        while (text.Length < length)
            text.Append(System.Globalization.CultureInfo.InvariantCulture, $$"""{"symbol":"S{{random.Next(1000)}}","price":{{random.Next(100_000)}}},""");
        return text.ToString(0, length);
    }
}
