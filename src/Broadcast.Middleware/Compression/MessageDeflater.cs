using System.Diagnostics;
using System.IO.Compression;

namespace Broadcast.Middleware.Compression;

/// <summary>
/// Compresses the payloads of messages with DEFLATE (RFC 7692, section 7.2.1). The compressed bytes of a message do not
/// depend on earlier messages. So the server can send the same bytes to every client.
/// </summary>
/// <remarks>
/// The compression level is the fastest level. docs/reference/protocols.md compares its cost with the cost of the
/// default level.
/// </remarks>
static class MessageDeflater
{
    /// <summary>The largest window of DEFLATE: 2 to the power of 15 bytes (RFC 1951, section 2).</summary>
    public const int MaxWindowBits = 15;

    const int MaxKeptBytes = 1 << 20, MaxPieces = 64;

    [ThreadStatic]
    static MemoryStream? _output;

    // The end of each compressed message. The sender removes these bytes.
    static ReadOnlySpan<byte> Tail => [0x00, 0x00, 0xFF, 0xFF];

    /// <summary>
    /// The largest payload to compress for a window. With a small window, a large payload needs many pieces, and each
    /// piece has a high fixed cost.
    /// </summary>
    public static int MaxLength(int windowBits) =>
        windowBits == MaxWindowBits ? int.MaxValue : MaxPieces << windowBits;

    /// <summary>Compresses a payload. The result is valid until the next call on this thread.</summary>
    /// <param name="payload">The payload. An empty payload is not allowed.</param>
    /// <param name="windowBits">
    /// The size of the client's window: 2 to the power of this number, in bytes. The compressed bytes contain no
    /// reference to bytes outside this window.
    /// </param>
    public static ReadOnlySpan<byte> Deflate(ReadOnlySpan<byte> payload, int windowBits)
    {
        Debug.Assert(!payload.IsEmpty);
        var output = _output ??= new();
        output.SetLength(0);
        // The streams of .NET use the largest window. For a smaller window, this method compresses pieces of the size
        // of the window, so that no reference is longer than the window.
        var maxPiece = windowBits == MaxWindowBits ? payload.Length : 1 << windowBits;
        while (!payload.IsEmpty)
        {
            var piece = payload[..Math.Min(maxPiece, payload.Length)];
            payload = payload[piece.Length..];
            long end;
            using (var deflate = new DeflateStream(output, CompressionLevel.Fastest, leaveOpen: true))
            {
                deflate.Write(piece);
                deflate.Flush();
                end = output.Length;
            }

            // Remove the final block. Dispose has written this block.
            output.SetLength(end);
        }

        var compressed = output.GetBuffer().AsSpan(0, (int)output.Length);
        Debug.Assert(compressed.EndsWith(Tail));
        if (output.Capacity > MaxKeptBytes) _output = null;
        return compressed[..^Tail.Length];
    }
}
