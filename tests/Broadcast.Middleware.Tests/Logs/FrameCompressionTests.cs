using System.Buffers;
using System.Text;

namespace Broadcast.Middleware.Tests.Logs;

/// <summary>Tests that readers share the compressed messages of a log.</summary>
public sealed class FrameCompressionTests
{
    readonly FrameCompression _compression = new(threshold: 100, windowBits: 15);
    readonly SequenceClock _clock = new();
    readonly CountingEncoder _format = new();

    [Theory]
    [InlineData(100, false)]
    [InlineData(101, true)]
    public void Take_PayloadNearThreshold_IsCompressedOnlyAboveThreshold(int length, bool isCompressed)
    {
        var log = TestLog.Create(_clock, 1 << 20);
        var reader = AddReader(log, null);
        var text = new string('x', length);
        Append(log, Message.FromText(text));

        var frame = Assert.Single(Take(reader));

        Assert.Equal((isCompressed, text), (frame.IsCompressed, frame.Text));
    }

    [Fact]
    public void Take_RandomBytes_AreNotCompressed()
    {
        var log = TestLog.Create(_clock, 1 << 20);
        var reader = AddReader(log, null);
        var bytes = new byte[500];
        new Random(1).NextBytes(bytes);
        Append(log, new Message(bytes, MessageType.Binary));

        var frame = Assert.Single(Take(reader));

        Assert.Equal((false, ClientFrame.Binary), (frame.IsCompressed, frame.Opcode));
        BytesAssert.Equal(bytes, frame.Payload);
    }

    [Theory]
    [InlineData(false)]
    [InlineData(true)]
    public void Take_MessageThatDisablesCompression_IsNotCompressed(bool hasFormat)
    {
        var log = TestLog.Create(_clock, 1 << 20);
        var reader = AddReader(log, hasFormat ? _format : null);
        var text = new string('x', 500);
        Append(log, Message.FromText(text) with { DisableCompression = true });
        Append(log, Message.FromText(text));
        var suffix = hasFormat ? "!" : "";

        var frames = Take(reader);

        Assert.Equal([(false, text + suffix), (true, text + suffix)], frames.Select(static frame => (frame.IsCompressed, frame.Text)));
    }

    [Fact]
    public void Take_SeveralReadersOfOneFormat_CompressEachMessageOnce()
    {
        var log = TestLog.Create(_clock, 1 << 20);
        var readers = Enumerable.Range(0, 5).Select(_ => AddReader(log, _format)).ToArray();
        // The first block of a log has room for these messages.
        for (var i = 0; i < 3; i++) Append(log, Message.FromText(Deflate.Json(150, i)));

        var runs = readers.Select(reader => TakeRun(reader).Frames).ToArray();

        Assert.Equal(3, _format.Count);
        foreach (var run in runs) Assert.True(run.Equals(runs[0]), "The readers do not share the memory.");
    }

    [Fact]
    public void Take_SeveralRawReaders_ShareTheCompressedBytes()
    {
        var log = TestLog.Create(_clock, 1 << 20);
        var (first, second, plain) = (AddReader(log, null), AddReader(log, null), AddReader(log, null));
        Append(log, Message.FromText(Deflate.Json(500)));

        var (one, two) = (TakeRun(first).Frames, TakeRun(second).Frames);

        Assert.True(one.Equals(two), "The readers do not share the memory.");
        Assert.True(plain.TryTake(long.MaxValue, out var run));
        Assert.Equal(0x81, run.Frames.Span[0]);
    }

    [Fact]
    public void Take_CompressionChangesBetweenCalls_UsesCompressionOfEachCall()
    {
        // The writer passes the compression of the current transport to the reader. A client may reconnect without compression.
        var log = TestLog.Create(_clock, 1 << 20);
        var reader = AddReader(log, null);
        var text = Deflate.Json(500);
        for (var i = 0; i < 3; i++)
        {
            Append(log, Message.FromText(text));
            var frame = Assert.Single(Take(reader, i == 1 ? null : _compression));
            Assert.Equal((i != 1, text), (frame.IsCompressed, frame.Text));
        }
    }

    [Fact]
    public void Take_OnlyShortMessages_SharesTheFramesOfTheLog()
    {
        var log = TestLog.Create(_clock, 1 << 20);
        var (compressing, plain) = (AddReader(log, null), AddReader(log, null));
        for (var i = 0; i < 3; i++) Append(log, Message.FromText(new string('x', 100)));

        Assert.True(plain.TryTake(long.MaxValue, out var run));

        Assert.True(TakeRun(compressing).Frames.Equals(run.Frames), "The reader has its own copy of the messages.");
    }

    [Theory]
    [InlineData(9)]
    [InlineData(12)]
    public void Take_LongMessageForSmallWindow_IsCompressed(int windowBits)
    {
        var compression = new FrameCompression(threshold: 100, windowBits);
        var log = TestLog.Create(_clock, 1 << 20);
        var reader = AddReader(log, null);
        var text = Deflate.Json(300_000);
        Append(log, Message.FromText(text));

        var frame = Assert.Single(Take(reader, compression));

        Assert.Equal((true, text), (frame.IsCompressed, frame.Text));
    }

    [Theory]
    [InlineData(false)]
    [InlineData(true)]
    public void Take_AnswerOfProtocol_IsNotCompressed(bool hasFormat)
    {
        var log = TestLog.Create(_clock, 1 << 20);
        var reader = AddReader(log, hasFormat ? new VerbatimEncoder() : null);
        var text = new string('x', 500);
        Append(log, new Message(Encoding.UTF8.GetBytes(text), MessageType.Text) { IsVerbatim = true });

        var frame = Assert.Single(Take(reader));

        Assert.Equal((false, text), (frame.IsCompressed, frame.Text));
    }

    /// <summary>A turn of a pump must not compress a whole block at once.</summary>
    [Fact]
    public void Take_ManyNewMessages_CompressesSomeOfThemPerRun()
    {
        var log = TestLog.Create(_clock, 1 << 20);
        var readers = (AddReader(log, _format), AddReader(log, _format));
        var texts = Enumerable.Range(0, 400).Select(static i => new string((char)('a' + (i % 26)), 150)).ToList();
        foreach (var text in texts) Append(log, Message.FromText(text));

        for (var encoded = 0; encoded < texts.Count; encoded = _format.Count)
        {
            var run = TakeRun(readers.Item1);
            // An entry has 154 bytes and its index item 32 bytes.
            Assert.InRange(_format.Count - encoded, 1, (16 * 1024 / 186) + 1);
            Assert.Equal(_format.Count - encoded, run.Messages);
        }

        Assert.False(readers.Item1.TryTake(long.MaxValue, out _, _compression));
        Assert.Equal(texts.Select(static text => text + "!"), Take(readers.Item2).Select(static frame => frame.Text));
        Assert.Equal(texts.Count, _format.Count);
    }

    [Theory]
    [InlineData(0)]
    [InlineData(125)]
    [InlineData(126)]
    [InlineData(65_535)]
    [InlineData(65_536)]
    public void PayloadSize_OfFrameSize_ReturnsPayloadLength(int payload) => Assert.Equal(payload, Frame.PayloadSize(Frame.Size(payload)));

    [Fact]
    public void GetEncoder_SameFormat_ReturnsSameObject()
    {
        Assert.Same(_compression.GetEncoder(null), _compression.GetEncoder(null));
        Assert.Same(_compression.GetEncoder(_format), _compression.GetEncoder(_format));
        Assert.NotSame(_compression.GetEncoder(_format), _compression.GetEncoder(new CountingEncoder()));
    }

    [Fact]
    public void Take_EncodedMessages_AllocateNothing()
    {
        var log = TestLog.Create(_clock, 1 << 20);
        var readers = Enumerable.Range(0, 100).Select(_ => AddReader(log, null)).ToArray();
        foreach (var reader in readers) Assert.False(reader.TryTake(long.MaxValue, out _, _compression));
        Append(log, Message.FromText(Deflate.Json(500)));
        TakeRun(readers[0]);

        var before = GC.GetAllocatedBytesForCurrentThread();
        var taken = 0;
        foreach (var reader in readers.AsSpan(1))
        {
            if (reader.TryTake(long.MaxValue, out _, _compression)) taken++;
        }

        Assert.Equal((99, 0L), (taken, GC.GetAllocatedBytesForCurrentThread() - before));
    }

    LogReader AddReader(MessageLog log, EntryEncoder? format)
    {
        var reader = new LogReader(_clock);
        lock (log.Gate) reader.Add(new Cursor(log, new IdleSubscriber(), null, new CursorOptions { Encoder = format }));
        return reader;
    }

    EntryRun TakeRun(LogReader reader)
    {
        Assert.True(reader.TryTake(long.MaxValue, out var run, _compression));
        return run;
    }

    List<ServerFrame> Take(LogReader reader) => Take(reader, _compression);

    static List<ServerFrame> Take(LogReader reader, FrameCompression? compression)
    {
        var frames = new List<ServerFrame>();
        while (reader.TryTake(long.MaxValue, out var run, compression))
        {
            for (var rest = run.Frames; !rest.IsEmpty;)
            {
                var isCompressed = (rest.Span[0] & 0x40) != 0;
                var header = rest.Span[..2].ToArray();
                var payload = Frame.Next(ref rest, out _).ToArray();
                frames.Add(new(header, isCompressed ? Deflate.Decompress(payload) : payload));
            }
        }

        return frames;
    }

    static void Append(MessageLog log, Message message)
    {
        lock (log.Gate) log.AppendLocked(message, EntryMetadata.Create(message, null));
    }

    /// <summary>An encoder that appends an exclamation mark and counts the encoded messages.</summary>
    sealed class CountingEncoder : EntryEncoder
    {
        public int Count { get; private set; }

        public override void Write(IBufferWriter<byte> output, MessageLog log, Block block, int index)
        {
            Count++;
            output.Write(Frame.CreateText([.. block.PayloadOf(index, out _).Span, (byte)'!']));
        }
    }

    sealed class VerbatimEncoder : EntryEncoder
    {
        public override void Write(IBufferWriter<byte> output, MessageLog log, Block block, int index) =>
            output.Write(Frame.CreateText(block.PayloadOf(index, out _).Span));
    }
}
