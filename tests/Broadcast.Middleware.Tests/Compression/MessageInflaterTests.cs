using System.IO.Compression;
using System.Text;

namespace Broadcast.Middleware.Tests.Compression;

/// <summary>Tests the decompression of messages. The reference is <see cref="DeflateStream"/>.</summary>
public sealed class MessageInflaterTests
{
    /// <summary>The examples of RFC 7692, sections 7.2.3.1 and 7.2.3.3 to 7.2.3.6.</summary>
    public static TheoryData<string, string> Examples => new()
    {
        { "F248CDC9C90700", "Hello" }, // One block with the fixed Huffman codes.
        { "000500FAFF48656C6C6F00", "Hello" }, // One block without compression.
        { "F348CDC9C9070000", "Hello" }, // One final block.
        { "F248050000 00FFFF CAC9C90700", "Hello" }, // Two blocks.
        { "00", "" },
        { "", "" }, // Some senders encode an empty message as no bytes.
        { "F348CDC9C90700 F348CDC9C9070000", "HelloHello" }, // Two final blocks. The second block refers to the first one.
    };

    [Theory]
    [MemberData(nameof(Examples))]
    public void Inflate_ExampleOfRfc7692_ReturnsText(string hex, string text)
    {
        var compressed = Convert.FromHexString(hex.Replace(" ", "", StringComparison.Ordinal));
        Assert.Equal(text, Encoding.UTF8.GetString(Inflate(compressed, int.MaxValue, 100)!));
        Assert.Equal(text, Encoding.UTF8.GetString(Inflate(compressed, 1, 1)!));
    }

    [Theory]
    [InlineData(CompressionLevel.Fastest)]
    [InlineData(CompressionLevel.Optimal)]
    [InlineData(CompressionLevel.SmallestSize)]
    [InlineData(CompressionLevel.NoCompression)]
    public void Inflate_AnyPayloadInAnyPieces_ReturnsPayload(CompressionLevel level)
    {
        for (var seed = 0; seed < 60 * Effort.Factor; seed++)
        {
            var random = new Random(seed);
            var payload = MakePayload(random);
            var compressed = Deflate.Compress(payload, level);
            var maxPiece = seed % 3 == 0 ? 1 : seed % 3 == 1 ? 700 : int.MaxValue;
            var inflated = Inflate(compressed, maxPiece, 1 + random.Next(2000), random);
            Assert.True(payload.AsSpan().SequenceEqual(inflated), $"Seed {seed}: the result differs from the payload.");
        }
    }

    [Theory]
    [InlineData("07")] // The block type 3 is reserved.
    [InlineData("00050000004865")] // The complement of the length is wrong.
    [InlineData("FD0F00")] // The dynamic block has too many literal codes.
    [InlineData("1F00")] // The block after the final block has the reserved type.
    [InlineData("0300FE")] // The block after the final block starts in the next byte and has the reserved type.
    [InlineData("FA")] // The message ends inside a symbol.
    [InlineData("F248CDC9")] // The message ends between two symbols.
    [InlineData("000500FAFF4865")] // The message ends inside a block without compression.
    [InlineData("F248CDC9C907")] // The header of the last block is missing.
    [InlineData("020600")] // The distance refers to bytes before the message.
    public void Inflate_CorruptBytes_ReturnsInvalid(string hex)
    {
        var compressed = Convert.FromHexString(hex);
        Assert.Null(Inflate(compressed, int.MaxValue, 100_000));
        Assert.Null(Inflate(compressed, 1, 100_000));
    }

    [Theory]
    [InlineData(CompressionLevel.Fastest)]
    [InlineData(CompressionLevel.Optimal)]
    [InlineData(CompressionLevel.NoCompression)]
    public void Inflate_TruncatedMessage_ReturnsInvalid(CompressionLevel level)
    {
        var compressed = Deflate.Compress(Encoding.UTF8.GetBytes(Deflate.Json(3000)), level);
        // Start at two bytes, because one zero byte is a complete message: the empty message.
        for (var length = 2; length < compressed.Length; length++)
            Assert.True(Inflate(compressed.AsSpan(0, length), int.MaxValue, 4000) is null, $"The first {length} bytes are a whole message.");
    }

    [Fact]
    public void Inflate_ChangedBytes_AcceptsOnlyWhatDeflateStreamAccepts()
    {
        var (accepted, rejected) = (0, 0);
        for (var seed = 0; seed < 1250 * Effort.Factor; seed++)
        {
            var random = new Random(seed);
            var payload = Encoding.UTF8.GetBytes(Deflate.Json(random.Next(1, 600), seed));
            var level = (CompressionLevel)random.Next(3);
            var compressed = Deflate.Compress(payload, level);
            for (var changes = random.Next(1, 4); changes > 0; changes--) compressed[random.Next(compressed.Length)] ^= (byte)(1 << random.Next(8));
            var inflated = Inflate(compressed, random.Next(1, 100), 1 << 20, random);
            var reference = TryDecompress(compressed);
            if (inflated is null)
            {
                rejected++;
                continue;
            }

            accepted++;
            // DeflateStream ignores the bytes after a final block, so its result can be shorter.
            Assert.True(reference is not null, $"Seed {seed}: only the inflater accepts the bytes.");
            Assert.True(inflated.AsSpan().StartsWith(reference), $"Seed {seed}: the results differ.");
        }

        Assert.True(accepted > 0 && rejected > 0);
    }

    [Fact]
    public void Inflate_RandomBytes_NeverThrows()
    {
        var completed = 0;
        for (var seed = 0; seed < 1250 * Effort.Factor; seed++)
        {
            var random = new Random(seed);
            var bytes = new byte[random.Next(1, 300)];
            random.NextBytes(bytes);
            // Most random bytes have an invalid header, so half of the runs start with the header of a compressed block.
            if (seed % 2 == 0) bytes[0] = (byte)((bytes[0] & ~7) | (seed % 4 == 0 ? 2 : 4));
            if (Inflate(bytes, random.Next(1, 50), 1 << 16, random) is not null) completed++;
        }

        Assert.True(completed < 1250 * Effort.Factor);
    }

    [Fact]
    public void Inflate_OutputLargerThanBuffer_StopsWhenBufferIsFull()
    {
        var bomb = Deflate.Compress(new byte[64 << 20]);
        Assert.True(bomb.Length < 100_000);
        var inflater = MessageInflater.Rent();
        ReadOnlySpan<byte> input = bomb;
        var (message, length) = (new byte[1000], 0);
        Assert.Equal(InflateResult.NeedsSpace, inflater.Inflate(ref input, isLast: true, message, ref length));
        Assert.Equal(1000, length);
        Assert.True(input.Length > bomb.Length - 100, "The inflater has read more than it needs.");
        inflater.Return();
    }

    [Fact]
    public void Inflate_MessageOfBufferSize_NeedsNoLargerBuffer()
    {
        var payload = Encoding.UTF8.GetBytes(Deflate.Json(1000));
        foreach (var level in Enum.GetValues<CompressionLevel>())
        {
            ReadOnlySpan<byte> input = Deflate.Compress(payload, level);
            var inflater = MessageInflater.Rent();
            var (message, length) = (new byte[1000], 0);
            Assert.Equal(InflateResult.Complete, inflater.Inflate(ref input, isLast: true, message, ref length));
            Assert.Equal(payload, message);
            inflater.Return();

            input = Deflate.Compress(payload, level);
            inflater = MessageInflater.Rent();
            length = 0;
            Assert.Equal(InflateResult.NeedsSpace, inflater.Inflate(ref input, isLast: true, message.AsSpan(0, 999), ref length));
            Assert.Equal(999, length);
            inflater.Return();
        }
    }

    [Fact]
    public void Inflate_AfterInvalidMessage_DecompressesNextMessage()
    {
        ReadOnlySpan<byte> corrupt = [0xF2, 0x48, 0xCD, 0x07, 0xFF];
        var inflater = new MessageInflater();
        var (message, length) = (new byte[100], 0);
        Assert.Equal(InflateResult.Invalid, inflater.Inflate(ref corrupt, isLast: true, message, ref length));
        Assert.True(inflater.TryReset());
        ReadOnlySpan<byte> input = Deflate.Compress("next");
        length = 0;
        Assert.Equal(InflateResult.Complete, inflater.Inflate(ref input, isLast: true, message, ref length));
        Assert.Equal("next", Encoding.UTF8.GetString(message, 0, length));
    }

    [Fact]
    public void Inflate_ManyMessages_AllocatesNothing()
    {
        var compressed = Deflate.Compress(Deflate.Json(2000));
        var message = new byte[2000];
        // Parallel tests share the pool. So this test rents the inflater before the measurement.
        var inflater = MessageInflater.Rent();
        InflateMany(10);
        // The runtime may allocate memory while it compiles a method again. So the test repeats the measurement.
        Assert.Equal(0, Enumerable.Range(0, 5).Min(_ => Measure(1000)));
        inflater.Return();

        long Measure(int count)
        {
            var before = GC.GetAllocatedBytesForCurrentThread();
            InflateMany(count);
            return GC.GetAllocatedBytesForCurrentThread() - before;
        }

        void InflateMany(int count)
        {
            for (var i = 0; i < count; i++)
            {
                ReadOnlySpan<byte> input = compressed;
                var length = 0;
                // Assert.Equal would allocate.
                if (inflater.Inflate(ref input, isLast: true, message, ref length) != InflateResult.Complete) Assert.Fail("The message is incomplete.");
                inflater.TryReset();
            }
        }
    }

    /// <summary>Decompresses a message in pieces with a growing buffer. Returns null for an invalid message.</summary>
    static byte[]? Inflate(ReadOnlySpan<byte> compressed, int maxPiece, int space, Random? random = null)
    {
        var inflater = MessageInflater.Rent();
        try
        {
            var (message, length) = (new byte[space], 0);
            while (true)
            {
                var size = Math.Min(compressed.Length, random is null || maxPiece == int.MaxValue ? maxPiece : 1 + random.Next(maxPiece));
                var input = compressed[..size];
                compressed = compressed[size..];
                var result = inflater.Inflate(ref input, compressed.IsEmpty, message, ref length);
                while (result == InflateResult.NeedsSpace)
                {
                    Assert.Equal(message.Length, length);
                    if (length > 1 << 24) return null;
                    Array.Resize(ref message, length + 1 + (length / 2));
                    result = inflater.Inflate(ref input, compressed.IsEmpty, message, ref length);
                }

                if (result == InflateResult.Invalid) return null;
                Assert.True(input.IsEmpty);
                if (result == InflateResult.Complete)
                {
                    Assert.True(compressed.IsEmpty);
                    return message[..length];
                }

                if (compressed.IsEmpty) Assert.Fail("The inflater waits for more input after the last piece.");
            }
        }
        finally
        {
            inflater.Return();
        }
    }

    static byte[]? TryDecompress(byte[] compressed)
    {
        try
        {
            return Deflate.Decompress(compressed);
        }
        catch (InvalidDataException)
        {
            return null;
        }
    }

    /// <summary>Concatenates up to five parts: text, random bytes, runs of one byte, or copies of earlier bytes.</summary>
    static byte[] MakePayload(Random random)
    {
        var payload = new List<byte>();
        for (var parts = random.Next(1, 6); parts > 0; parts--)
        {
            var size = random.Next(1, random.Next(2) == 0 ? 100 : 20_000);
            switch (random.Next(4))
            {
                case 0:
                    payload.AddRange(Encoding.UTF8.GetBytes(Deflate.Json(size, random.Next())));
                    break;
                case 1:
                    var bytes = new byte[size];
                    random.NextBytes(bytes);
                    payload.AddRange(bytes);
                    break;
                case 2:
                    payload.AddRange(Enumerable.Repeat((byte)random.Next(256), size));
                    break;
                default:
                    payload.AddRange(payload.Skip(random.Next(payload.Count + 1)).Take(size).ToArray());
                    break;
            }
        }

        return payload.Count == 0 ? [1] : [.. payload];
    }
}
