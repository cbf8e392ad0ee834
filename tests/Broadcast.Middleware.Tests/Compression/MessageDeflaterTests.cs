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
    public void Deflate_Text_DecompressesToText(int windowBits)
    {
        for (var seed = 0; seed < 60 * Effort.Factor; seed++)
        {
            var length = new Random(seed).Next(100, seed % 10 == 0 ? 200_000 : 3000);
            var payload = Encoding.UTF8.GetBytes(Deflate.Json(length, seed));
            AssertDecompresses(payload, Compress(payload, windowBits), windowBits);
        }
    }

    /// <summary>Tests all byte values, and many lengths and distances of repetitions.</summary>
    [Fact]
    public void Deflate_BytesWithRepetitions_DecompressesToBytes()
    {
        var compressedPayloads = 0;
        for (var seed = 0; seed < 400 * Effort.Factor; seed++)
        {
            var random = new Random(seed);
            var windowBits = random.Next(9, 16);
            var maxDistance = random.Next(1, 40_000);
            var payload = new List<byte>();
            for (var steps = random.Next(1, 40); steps > 0; steps--)
            {
                var bytes = new byte[random.Next(1, random.Next(1, 2000))];
                random.NextBytes(bytes);
                payload.AddRange(bytes);
                var distance = random.Next(1, Math.Min(payload.Count, maxDistance) + 1);
                for (var length = random.Next(1, 700); length > 0; length--) payload.Add(payload[^distance]);
            }

            if (!MessageDeflater.TryDeflate(payload.ToArray(), windowBits, out var compressed)) continue;
            compressedPayloads++;
            AssertDecompresses([.. payload], compressed.ToArray(), windowBits);
        }

        Assert.True(compressedPayloads > 100, "The test compresses too few payloads.");
    }

    [Theory]
    [InlineData(0)]
    [InlineData(1)]
    [InlineData(3)]
    [InlineData(500)]
    [InlineData(100_000)]
    public void Deflate_RandomBytes_ReturnsFalse(int length)
    {
        var payload = new byte[length];
        new Random(1).NextBytes(payload);
        Assert.False(MessageDeflater.TryDeflate(payload, 15, out _));
    }

    [Theory]
    [InlineData(8)]
    [InlineData(257)]
    [InlineData(258)]
    [InlineData(259)]
    [InlineData(260)]
    [InlineData(100_000)]
    public void Deflate_OneRepeatedByte_IsSmall(int length)
    {
        var payload = new byte[length];
        var compressed = Compress(payload, 15);
        AssertDecompresses(payload, compressed, 15);
        Assert.InRange(compressed.Length, 1, 8 + (length / 100));
    }

    [Fact]
    public void Deflate_DistantRepetition_IsUsedOnlyInLargeWindow()
    {
        // The second half repeats the first half at a distance of 4,096 bytes. Random bytes have no nearer repetitions.
        var half = new byte[4096];
        new Random(1).NextBytes(half);
        byte[] payload = [.. half, .. half];
        Assert.True(Compress(payload, 15).Length < 5000);
        Assert.False(MessageDeflater.TryDeflate(payload, 9, out _));
    }

    [Fact]
    public void Deflate_SameMessageAfterAnotherMessage_ReturnsSameBytes()
    {
        var payload = Encoding.UTF8.GetBytes(Deflate.Json(2000));
        var first = Compress(payload, 15);
        Compress(Encoding.UTF8.GetBytes(Deflate.Json(5000, seed: 1)), 15);
        // The message that was compressed in between must not change the result.
        Assert.Equal(first, Compress(payload, 15));
    }

    static byte[] Compress(byte[] payload, int windowBits)
    {
        Assert.True(MessageDeflater.TryDeflate(payload, windowBits, out var compressed));
        Assert.True(compressed.Length < payload.Length);
        return compressed.ToArray();
    }

    static void AssertDecompresses(byte[] payload, byte[] compressed, int windowBits)
    {
        BytesAssert.Equal(payload, Deflate.Decompress(compressed));
        ReadOnlySpan<byte> input = compressed;
        var (message, length) = (new byte[payload.Length], 0);
        var inflater = MessageInflater.Rent();
        Assert.Equal(InflateResult.Complete, inflater.Inflate(ref input, isLast: true, message, ref length));
        inflater.Return();
        BytesAssert.Equal(payload, message);
        Assert.InRange(FarthestReference(compressed), 0, 1 << windowBits);
    }

    /// <summary>
    /// Returns the largest distance in one block with fixed codes (RFC 1951, section 3.2.6). Decompressors do not check
    /// that a distance is in the window.
    /// </summary>
    static int FarthestReference(byte[] compressed)
    {
        var (position, farthest) = (0, 0);
        Assert.Equal(0b010, Read(3));
        while (true)
        {
            var code = ReadCode(7);
            if (code == 0) return farthest; // The end of the block.
            if (code < 24)
            {
                ReadMatch(code - 1);
                continue;
            }

            code = (code << 1) | Read(1);
            if (code is >= 0b11000000 and < 0b11001000) ReadMatch(code - 0b11000000 + 23);
            else if (code >= 0b11001000) Read(1); // A literal with 9 bits.
        }

        void ReadMatch(int length)
        {
            Read(DeflateTables.LengthExtraBits[length]);
            var distance = ReadCode(5);
            farthest = Math.Max(farthest, DeflateTables.DistanceBases[distance] + Read(DeflateTables.DistanceExtraBits[distance]));
        }

        // The highest bit of a code is first. The lowest bit of other numbers is first.
        int ReadCode(int length) => HuffmanCode.Reverse(Read(length), length);

        int Read(int count)
        {
            var value = 0;
            for (var i = 0; i < count; i++, position++) value |= ((compressed[position / 8] >> (position % 8)) & 1) << i;
            return value;
        }
    }
}
