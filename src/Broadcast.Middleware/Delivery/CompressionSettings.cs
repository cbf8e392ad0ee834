using Broadcast.Middleware.Compression;
using Broadcast.Middleware.Logs;

namespace Broadcast.Middleware.Delivery;

/// <summary>The compression of an endpoint.</summary>
/// <param name="threshold">See <see cref="BroadcastOptions.CompressMessagesAbove"/>.</param>
sealed class CompressionSettings(int threshold)
{
    const int MediumWindowBits = 12;

    /// <summary>The smallest window that the server supports: 2 to the power of 9 bytes.</summary>
    public const int MinWindowBits = 9;

    readonly FrameCompression _large = new(threshold, MessageDeflater.MaxWindowBits);
    readonly FrameCompression _medium = new(threshold, MediumWindowBits);
    readonly FrameCompression _small = new(threshold, MinWindowBits);

    /// <summary>
    /// Returns the compression for clients with a window of 2 to the power of <paramref name="bits"/> bytes. The result
    /// may use a smaller window. The class uses only three window sizes. So the server compresses a message at most
    /// three times for each protocol and each value of <see cref="BroadcastOptions.CompressMessagesAbove"/>. The Python
    /// library <c>websockets</c> asks for 12 bits, and most other clients ask for no size.
    /// </summary>
    public FrameCompression ForWindow(int bits) => bits switch
    {
        MessageDeflater.MaxWindowBits => _large,
        >= MediumWindowBits => _medium,
        _ => _small,
    };
}
