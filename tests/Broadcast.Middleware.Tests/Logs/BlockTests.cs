using System.Buffers;

namespace Broadcast.Middleware.Tests.Logs;

public sealed class BlockTests
{
    [Fact]
    public void Block_AppendedFrames_AreContiguous()
    {
        var block = new Block(512, 10, 1000);
        block.Append(new("ab"u8.ToArray(), MessageType.Text), 5, 50, null);
        block.Append(new("c"u8.ToArray(), MessageType.Binary), 7, 70, null);
        Assert.Equal(2, block.Count);
        Assert.Equal([0x81, 2, (byte)'a', (byte)'b', 0x82, 1, (byte)'c'], block.Run(0, 2).Frames.ToArray());
        Assert.Equal([0x82, 1, (byte)'c'], block.Run(1, 2).Frames.ToArray());
        Assert.True(block.Run(1, 1).IsEmpty);
        Assert.Equal((2, 50), (block.Run(0, 2).Messages, block.Run(0, 2).PublishedAt));
        Assert.Equal((5, 7), (block[0].Sequence, block[1].Sequence));
        Assert.Equal((0, 4, 7), (block.EndOf(0), block.EndOf(1), block.EndOf(2)));
        Assert.Equal(7, block.Length);
        Assert.Equal((10, 1000), (block.FirstOffset, block.FirstByte));
    }

    [Fact]
    public void BlockIndex_ManySmallMessages_Grows()
    {
        var block = new Block(512, 1, 0);
        for (var i = 0; i < 256; i++) block.Append(new(default, MessageType.Text), i, 0, null);
        Assert.Equal(256, block.Count);
        Assert.Equal(512, block.Length);
        for (var i = 0; i < 256; i++) Assert.Equal(i, block[i].Sequence);
    }

    [Fact]
    public void Block_WithExclusions_ReportsExclusions()
    {
        var block = new Block(512, 1, 0);
        block.Append(new(default, MessageType.Text), 1, 0, null);
        Assert.False(block.HasMetadata);
        block.Append(new(default, MessageType.Text), 2, 0, new EntryMetadata(new ExcludedConnections("a")));
        Assert.True(block.HasMetadata);
        Assert.Null(block[0].Metadata);
        Assert.True(block[1].Metadata!.Excludes("a"));
    }

    [Theory]
    [InlineData(10_000, 6)] // Six entries have 60,000 bytes. Seven entries have more than 64 KiB.
    [InlineData(32_768, 2)]
    [InlineData(65_536, 1)]
    [InlineData(65_537, 1)] // A run has at least one entry, even if this entry exceeds 64 KiB.
    [InlineData(10, 20)]
    public void EncodedRun_AnySize_EndsAt64KiB(int size, int expected)
    {
        const int Entries = 20;
        var log = new MessageLog(new SequenceClock(), new LogSettings(1 << 20, null));
        var block = new Block(512, 1, 0);
        for (var i = 0; i < Entries; i++) block.Append(new(default, MessageType.Text), i + 1, 0, null);
        var encoder = new FixedSizeEncoder(size);

        // For the second reader, the entries are already encoded. The third reader starts at the second entry.
        foreach (var start in new[] { 0, 0, 1 })
        {
            for (var from = start; from < Entries; from += expected)
            {
                var run = block.Run(from, Entries, encoder, log);
                Assert.Equal(Math.Min(expected, Entries - from), run.Messages);
                Assert.Equal(run.Messages * size, run.Frames.Length);
            }
        }

        Assert.Equal(Entries, encoder.Writes);
    }

    [Fact]
    public void EmptyBlock_New_HasNoCapacityAndNoMessages()
    {
        var block = new Block(0, 3, 9);
        Assert.Equal((0, 0, 0), (block.Capacity, block.Count, block.Length));
        Assert.Null(block.Next);
        block.Link(Block.Lost);
        Assert.Same(Block.Lost, block.Next);
    }

    sealed class FixedSizeEncoder(int size) : EntryEncoder
    {
        public int Writes { get; private set; }

        public override void Write(IBufferWriter<byte> output, MessageLog log, Block block, int index)
        {
            Writes++;
            output.GetSpan(size);
            output.Advance(size);
        }
    }
}
