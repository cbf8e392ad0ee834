namespace Broadcast.Middleware.Tests.Logs;

public sealed class FrameTests
{
    [Theory]
    [InlineData(0, 2)]
    [InlineData(1, 2)]
    [InlineData(125, 2)]
    [InlineData(126, 4)]
    [InlineData(65_535, 4)]
    [InlineData(65_536, 10)]
    [InlineData(1_000_000, 10)]
    public void Frame_OfAnyLength_HasShortestHeaderAndCanBeParsed(int length, int header)
    {
        Assert.Equal(header, Frame.HeaderSize(length));
        Assert.Equal(header + length, Frame.Size(length));
        var payload = new byte[length];
        new Random(length).NextBytes(payload);
        var bytes = new byte[header + length];
        Frame.Write(bytes, MessageType.Binary, payload);
        Assert.Equal(0x82, bytes[0]);
        Assert.Equal(0, bytes[1] & 0x80);
        ReadOnlyMemory<byte> run = bytes;
        Assert.Equal(payload, Frame.Next(ref run, out var type).ToArray());
        Assert.Equal(MessageType.Binary, type);
        Assert.True(run.IsEmpty);
    }

    [Fact]
    public void FrameLength_MoreThanOneByte_IsWrittenInNetworkOrder()
    {
        var medium = new byte[4 + 0x1234];
        Frame.Write(medium, MessageType.Text, new byte[0x1234]);
        Assert.Equal([0x81, 126, 0x12, 0x34], medium[..4]);
        var large = new byte[10 + 0x12345];
        Frame.Write(large, MessageType.Text, new byte[0x12345]);
        Assert.Equal([0x81, 127, 0, 0, 0, 0, 0, 1, 0x23, 0x45], large[..10]);
    }

    [Fact]
    public void FrameRun_FramesOfDifferentLengths_IsParsedInOrder()
    {
        int[] lengths = [3, 0, 200, 70_000, 125];
        var bytes = new byte[lengths.Sum(Frame.Size)];
        var at = 0;
        foreach (var length in lengths)
        {
            Frame.Write(bytes.AsSpan(at), length % 2 == 0 ? MessageType.Text : MessageType.Binary, new byte[length]);
            at += Frame.Size(length);
        }

        ReadOnlyMemory<byte> run = bytes;
        foreach (var length in lengths)
        {
            Assert.Equal(length, Frame.Next(ref run, out var type).Length);
            Assert.Equal(length % 2 == 0 ? MessageType.Text : MessageType.Binary, type);
        }

        Assert.True(run.IsEmpty);
    }
}
