using Broadcast.Middleware.Compression;
using Broadcast.Middleware.Logs;

namespace Broadcast.Middleware.Delivery;

/// <summary>The compression of an endpoint.</summary>
/// <param name="threshold">See <see cref="BroadcastOptions.CompressMessagesAbove"/>.</param>
sealed class CompressionSettings(int threshold)
{
    /// <summary>
    /// The window for clients that ask for a smaller window than the largest one. One size for all these clients limits
    /// the number of times that the server compresses a message.
    /// </summary>
    public const int SmallWindowBits = 9;

    readonly FrameCompression _large = new(threshold, MessageDeflater.MaxWindowBits);
    readonly FrameCompression _small = new(threshold, SmallWindowBits);

    /// <summary>Returns the compression for a window of 2 to the power of this number, in bytes.</summary>
    public FrameCompression ForWindow(int bits) => bits == MessageDeflater.MaxWindowBits ? _large : _small;
}
