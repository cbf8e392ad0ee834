using System.Text;

namespace Broadcast.Middleware.Tests.Compression;

/// <summary>
/// Tests the compression of messages. <see cref="System.IO.Compression.DeflateStream"/> and
/// <see cref="MessageInflater"/> decompress the results.
/// </summary>
public sealed class MessageDeflaterTests
{
    [Theory]
    [InlineData(15)]
    [InlineData(12)]
    [InlineData(9)]
    public void Deflate_AnyPayload_DecompressesToPayload(int windowBits)
    {
        for (var seed = 0; seed < 60 * Effort.Factor; seed++)
        {
            var random = new Random(seed);
            var payload = new byte[random.Next(1, seed % 10 == 0 ? 200_000 : 3000)];
            if (seed % 3 == 0) random.NextBytes(payload);
            else Encoding.UTF8.GetBytes(Deflate.Json(payload.Length, seed), payload);
            var compressed = MessageDeflater.Deflate(payload, windowBits).ToArray();
            Assert.True(payload.AsSpan().SequenceEqual(Deflate.Decompress(compressed)), $"Seed {seed}: DeflateStream returns another payload.");
            ReadOnlySpan<byte> input = compressed;
            var (message, length) = (new byte[payload.Length], 0);
            var inflater = MessageInflater.Rent();
            Assert.Equal(InflateResult.Complete, inflater.Inflate(ref input, isLast: true, message, ref length));
            inflater.Return();
            Assert.True(payload.AsSpan().SequenceEqual(message), $"Seed {seed}: the inflater returns another payload.");
        }
    }

    [Fact]
    public void Deflate_SmallWindow_RefersOnlyToBytesInTheWindow()
    {
        // The second half repeats the first half at a distance of 4,096 bytes. Random bytes have no nearer repetitions.
        var half = new byte[4096];
        new Random(1).NextBytes(half);
        byte[] payload = [.. half, .. half];
        Assert.True(MessageDeflater.Deflate(payload, 15).Length < 5000);
        Assert.True(MessageDeflater.Deflate(payload, 9).Length > payload.Length);
    }

    [Fact]
    public void Deflate_SameMessageAfterAnotherMessage_ReturnsSameBytes()
    {
        var payload = Encoding.UTF8.GetBytes(Deflate.Json(2000));
        var first = MessageDeflater.Deflate(payload, 15).ToArray();
        MessageDeflater.Deflate(Encoding.UTF8.GetBytes(Deflate.Json(5000, seed: 1)), 15);
        // The message that was compressed in between must not change the result.
        Assert.Equal(first, MessageDeflater.Deflate(payload, 15).ToArray());
    }
}
