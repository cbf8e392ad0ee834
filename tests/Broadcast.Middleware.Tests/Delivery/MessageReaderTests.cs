using System.Buffers;
using System.Buffers.Binary;
using System.IO.Pipelines;
using System.Net.WebSockets;
using System.Text;
using CsCheck;

namespace Broadcast.Middleware.Tests.Delivery;

/// <summary>Tests the parser of client frames. The framework's WebSocket parses the same bytes and must report the same items.</summary>
public sealed class MessageReaderTests
{
    static CancellationToken Token => TestContext.Current.CancellationToken;

    [Fact]
    public async Task Take_RandomFramesInRandomPieces_ReturnsSameItemsAsFramework() =>
        await Gen.Select(Frames, Gen.OneOf(Gen.Int[1, 8], Gen.Int[1, 5_000])).SampleAsync(
            async (frames, piece) =>
            {
                byte[] bytes = [.. frames.SelectMany(static frame => frame)];
                var items = await ItemsAsync(InPieces(bytes, piece));
                // The framework reports code 1000 for a close frame without a code.
                Assert.Equal(await FrameworkItemsAsync(bytes), items.Select(static item => item == "close 1005 " ? "close 1000 " : item));
            },
            iter: 500 * Effort.Factor);

    [Fact]
    public async Task Take_RandomFramesThroughWebSocketInput_ReturnsSameItemsAsFramework() =>
        await Gen.Select(Frames, Gen.Int[1, 9_000]).SampleAsync(
            async (frames, piece) =>
            {
                byte[] bytes = [.. frames.SelectMany(static frame => frame)];
                using var webSocket = Framework(new FrameworkStream(InPieces(bytes, piece), []));
                // The framework's WebSocket answers pings and reports protocol errors itself. So compare only the other
                // items.
                Assert.Equal(Contents(await FrameworkItemsAsync(bytes)), Contents(await ItemsAsync(new WebSocketInput(webSocket), isMasked: false)));

                static IEnumerable<string> Contents(List<string> items) =>
                    items.Where(static item => !item.StartsWith("ping", StringComparison.Ordinal) && item != "end" && !item.StartsWith("error", StringComparison.Ordinal));
            },
            iter: 250 * Effort.Factor);

    [Fact]
    public async Task Take_RandomTextInRandomPieces_FindsFirstInvalidByte() =>
        await Gen.Select(Gen.OneOf(Gen.Byte.Array[0, 40], TextBytes, Gen.Select(TextBytes, Gen.Byte.Array[0, 4], static (text, rest) => (byte[])[.. text, .. rest])),
            Gen.OneOf(Gen.Int[1, 8], Gen.Int[1, 700]), Gen.OneOf(Gen.Int[1, 8], Gen.Int[1, 900]), Gen.Bool).SampleAsync(
            async (text, fragment, piece, hasControlFrames) =>
            {
                // The message has no last fragment. So only a check before the end of the message can find an error.
                byte[] bytes = [.. Fragments(text, fragment, hasControlFrames)];
                var items = await ItemsAsync(InPieces(bytes, piece));
                Assert.Equal(HasInvalidPrefix(text) ? "error 1007" : "end", items[^1]);
            },
            iter: 400 * Effort.Factor);

    [Fact]
    public async Task Take_CompressedMessagesInRandomPieces_ReturnsDecompressedMessages() =>
        await Gen.Select(
            Gen.Select(Payloads(), Gen.Bool, Gen.OneOf(Gen.Int[1, 8], Gen.Int[1, 500])).Array[1, 6],
            Gen.OneOf(Gen.Int[1, 8], Gen.Int[1, 5_000])).SampleAsync(
            async (messages, piece) =>
            {
                var (bytes, expected) = (new List<byte>(), new List<string>());
                foreach (var (payload, isCompressed, fragment) in messages)
                {
                    var sent = isCompressed ? Deflate.Compress(payload) : payload;
                    // An empty plain message is one frame.
                    for (var at = 0; at == 0 || at < sent.Length; at += fragment)
                    {
                        var rest = sent.AsSpan(at);
                        var isLast = rest.Length <= fragment;
                        var opcode = at == 0 ? ClientFrame.Binary : ClientFrame.Continuation;
                        bytes.AddRange(ClientFrame.Make(opcode, isLast ? rest : rest[..fragment], isLast, at == 0 && isCompressed ? 4 : 0));
                    }

                    expected.Add(Item(isText: false, payload));
                }

                Assert.Equal([.. expected, "end"], await ItemsAsync(InPieces([.. bytes], piece), decompresses: true));
            },
            iter: 125 * Effort.Factor);

    [Fact]
    public async Task Release_IncompleteCompressedMessage_DropsRestOfMessage()
    {
        var pipe = new Pipe();
        var reader = new MessageReader(pipe.Reader, isMasked: true) { MaxMessageBytes = 1000, MaxSmallFragments = 1000, Decompresses = true };
        var frame = ClientFrame.Make(ClientFrame.Text, Deflate.Compress(Deflate.Json(500)), rsv: 4);
        await pipe.Writer.WriteAsync(frame.AsMemory(0, 50), Token);
        Assert.Equal(ReceivedItem.Nothing, reader.Take(await reader.ReadAsync(Token)));
        reader.Release();
        await pipe.Writer.WriteAsync(frame.AsMemory(50), Token);
        Assert.Equal((ReceivedItem.Nothing, 0), (reader.Take(await reader.ReadAsync(Token)), reader.Payload.Length));
        await pipe.Writer.WriteAsync(ClientFrame.Make(ClientFrame.Text, Deflate.Compress("next"), rsv: 4), Token);
        Assert.Equal((ReceivedItem.Message, 4), (reader.Take(await reader.ReadAsync(Token)), reader.Payload.Length));
    }

    [Fact]
    public async Task Take_InvalidTextInIncompleteFrame_ReportsErrorBeforeEndOfFrame()
    {
        var bytes = ClientFrame.Make(ClientFrame.Text, [0x61, 0xFF, .. new byte[1000]]).AsMemory(0, 20);
        Assert.Equal(["error 1007"], await ItemsAsync(InPieces(bytes.ToArray(), 20)));
    }

    [Fact]
    public async Task Take_CloseFrameWithoutCode_IsReportedAs1005()
    {
        var bytes = ClientFrame.Make(ClientFrame.Close, []);
        Assert.Equal(["close 1005 "], await ItemsAsync(InPieces(bytes, 1)));
    }

    [Fact]
    public async Task Take_MessageAboveLimit_IsDroppedWithoutBuffer()
    {
        byte[] bytes =
        [
            .. ClientFrame.Make(ClientFrame.Binary, new byte[60], fin: false), .. ClientFrame.Make(ClientFrame.Continuation, new byte[41], fin: false),
            .. ClientFrame.Make(ClientFrame.Continuation, new byte[1000]), .. ClientFrame.Make(ClientFrame.Binary, new byte[100]),
        ];
        Assert.Equal(["too big", "binary 100", "end"], await ItemsAsync(InPieces(bytes, 7), maxBytes: 100, reportsLength: true));
    }

    [Theory]
    [InlineData(1)]
    [InlineData(7)]
    [InlineData(5000)]
    public async Task Take_CompressedMessages_AreDecompressedUpToLimit(int piece)
    {
        byte[] bytes =
        [
            .. Compressed(new byte[100], 3), .. Compressed(new byte[101], 3), .. ClientFrame.Make(ClientFrame.Binary, new byte[100]), .. Compressed([], 1),
            .. Compressed(new byte[50], 100), .. Compressed(new byte[1 << 20], 100), .. ClientFrame.Make(ClientFrame.Binary, new byte[3]),
        ];
        // The limit applies to the decompressed message.
        Assert.Equal(
            ["binary 100", "too big", "binary 100", "binary 0", "binary 50", "too big", "binary 3", "end"],
            await ItemsAsync(InPieces(bytes, piece), maxBytes: 100, reportsLength: true, decompresses: true));
    }

    /// <summary>
    /// Empty blocks have no content. So the limit for the decompressed size never applies to a message of empty blocks.
    /// </summary>
    [Fact]
    public async Task Take_CompressedMessageOfEmptyBlocks_IsTooBig()
    {
        byte[] emptyBlocks = [.. Enumerable.Repeat<byte[]>([0x00, 0x00, 0x00, 0xFF, 0xFF], 100).SelectMany(static block => block)];
        byte[] bytes =
        [
            .. ClientFrame.Make(ClientFrame.Binary, emptyBlocks, fin: false, rsv: 4), .. ClientFrame.Make(ClientFrame.Continuation, emptyBlocks, fin: false),
            .. ClientFrame.Make(ClientFrame.Continuation, emptyBlocks, fin: false), .. ClientFrame.Make(ClientFrame.Continuation, []), .. ClientFrame.Make(ClientFrame.Binary, [1]),
        ];
        Assert.Equal(["too big", "binary 1", "end"], await ItemsAsync(InPieces(bytes, 100), maxBytes: 100, reportsLength: true, decompresses: true));
    }

    [Fact]
    public async Task Take_LongCompressedFrame_IsRefusedBeforeThePayload()
    {
        var header = ClientFrame.Make(ClientFrame.Binary, [], rsv: 4, declared: 1ul << 40);
        Assert.Equal(["too big", "end"], await ItemsAsync(InPieces(header, header.Length), maxBytes: 1 << 20, decompresses: true));
    }

    /// <summary>Blocks without compression are the longest encoding that a compressor needs.</summary>
    [Fact]
    public async Task Take_MessageOfStoredBlocks_IsAcceptedUpToLimit()
    {
        var payload = new byte[100_000];
        new Random(1).NextBytes(payload);
        var frame = ClientFrame.Make(ClientFrame.Binary, Deflate.Compress(payload, System.IO.Compression.CompressionLevel.NoCompression), rsv: 4);
        Assert.Equal(["binary 100000", "end"], await ItemsAsync(InPieces(frame, 5000), maxBytes: 100_000, reportsLength: true, decompresses: true));
    }

    [Fact]
    public async Task Take_CompressedMessageWithoutNegotiation_IsProtocolError() =>
        Assert.Equal(["error 1002"], await ItemsAsync(InPieces(Compressed(new byte[100], 1000), 1000)));

    [Fact]
    public async Task Take_LengthAboveLimit_IsRefusedBeforeThePayload()
    {
        var header = ClientFrame.Make(ClientFrame.Binary, [], declared: 1ul << 40);
        Assert.Equal(["too big", "end"], await ItemsAsync(InPieces(header, header.Length), maxBytes: 1 << 20));
    }

    [Theory]
    [InlineData(63, "too many fragments")]
    [InlineData(64, "binary 193")]
    public async Task Take_FragmentSmallerThan64Bytes_CountsTowardMaxSmallFragments(int size, string expected)
    {
        byte[] bytes =
        [
            .. ClientFrame.Make(ClientFrame.Binary, new byte[64], fin: false), .. ClientFrame.Make(ClientFrame.Continuation, [], fin: false),
            .. ClientFrame.Make(ClientFrame.Continuation, new byte[1], fin: false), .. ClientFrame.Make(ClientFrame.Continuation, new byte[size], fin: false),
            .. ClientFrame.Make(ClientFrame.Continuation, new byte[64]),
        ];
        Assert.Equal(expected, (await ItemsAsync(InPieces(bytes, 3), maxFragments: 2, reportsLength: true))[0]);
    }

    [Fact]
    public async Task Take_WhileAppHandlesMessage_ReadsOnlyControlFrames()
    {
        byte[] bytes =
        [
            .. ClientFrame.CreateText("first"), .. ClientFrame.Make(ClientFrame.Ping, "a"u8), .. ClientFrame.Make(ClientFrame.Pong, "b"u8), .. ClientFrame.CreateText("second"),
        ];
        var reader = Reader(PipeReader.Create(new ReadOnlySequence<byte>(bytes)));
        Assert.Equal(ReceivedItem.Message, reader.Take(await reader.ReadAsync(Token)));
        Assert.Equal(ReceivedItem.Ping, reader.Take(await reader.ReadAsync(Token), isHandling: true));
        Assert.Equal(ReceivedItem.Pong, reader.Take(await reader.ReadAsync(Token), isHandling: true));
        Assert.Equal(ReceivedItem.NextMessage, reader.Take(await reader.ReadAsync(Token), isHandling: true));
        Assert.Equal(ReceivedItem.NextMessage, reader.Take(await reader.ReadAsync(Token), isHandling: true));
        Assert.Equal("first", Encoding.UTF8.GetString(reader.Payload.Span));
        reader.Release();
        Assert.Equal(ReceivedItem.Message, reader.Take(await reader.ReadAsync(Token)));
        Assert.Equal("second", Encoding.UTF8.GetString(reader.Payload.Span));
    }

    /// <summary>
    /// A pipe throws if the examined position moves backward. So the reader must never report a smaller examined
    /// position than in an earlier call.
    /// </summary>
    [Fact]
    public async Task Take_FrameInTwoPieces_ReturnsSameItemAsWholeFrame()
    {
        byte[][] frames =
        [
            ClientFrame.Make(3, "ab"u8), ClientFrame.Make(ClientFrame.Text, "ab"u8, mask: false), ClientFrame.Make(ClientFrame.Ping, "ab"u8, rsv: 4),
            ClientFrame.Make(ClientFrame.Continuation, "ab"u8), ClientFrame.Make(ClientFrame.Binary, [], declared: 1ul << 63), ClientFrame.CreateClose(999),
            ClientFrame.Make(ClientFrame.Text, [0xFF]), ClientFrame.CreateText("ab"), ClientFrame.Make(ClientFrame.Binary, new byte[300]), ClientFrame.CreateClose(1000, "bye"),
            ClientFrame.Make(ClientFrame.Ping, "ab"u8), ClientFrame.Make(ClientFrame.Binary, [], declared: 1ul << 62),
        ];
        foreach (var frame in frames)
        {
            var expected = await ItemsAsync(InPieces(frame, frame.Length));
            for (var cut = 1; cut < frame.Length; cut++)
            {
                foreach (var isHandling in (bool[])[false, true])
                {
                    var pipe = new Pipe();
                    var reader = Reader(pipe.Reader);
                    await pipe.Writer.WriteAsync(frame.AsMemory(0, cut), Token);
                    var item = reader.Take(await reader.ReadAsync(Token), isHandling);
                    await pipe.Writer.WriteAsync(frame.AsMemory(cut), Token);
                    await pipe.Writer.CompleteAsync();
                    if (item == ReceivedItem.Nothing) item = reader.Take(await reader.ReadAsync(Token), isHandling);
                    if (item is ReceivedItem.NextMessage or ReceivedItem.Nothing) item = reader.Take(await reader.ReadAsync(Token));
                    Assert.Equal(expected[0], Describe(item, reader));
                }
            }
        }
    }

    [Fact]
    public async Task Release_IncompleteText_DropsRestOfMessage()
    {
        var pipe = new Pipe();
        var reader = Reader(pipe.Reader);
        await pipe.Writer.WriteAsync(ClientFrame.CreateText(new string('x', 200)).AsMemory(0, 150), Token);
        Assert.Equal(ReceivedItem.Nothing, reader.Take(await reader.ReadAsync(Token)));
        reader.Release();
        await pipe.Writer.WriteAsync(ClientFrame.CreateText(new string('x', 200)).AsMemory(150), Token);
        Assert.Equal((ReceivedItem.Nothing, 0), (reader.Take(await reader.ReadAsync(Token)), reader.Payload.Length));
        await pipe.Writer.WriteAsync(ClientFrame.CreateText("next"), Token);
        Assert.Equal((ReceivedItem.Message, 4), (reader.Take(await reader.ReadAsync(Token)), reader.Payload.Length));
    }

    [Theory]
    [InlineData(1000, 124, "close 1000 ")]
    [InlineData(1000, 3, "close 1000 rrr")]
    [InlineData(999, 3, "close 1005 ")]
    public async Task WebSocketInput_InvalidCloseCodeOrReason_IsOmitted(int code, int length, string expected)
    {
        var socket = new ScriptedSocket();
        socket.ReceivesClose((WebSocketCloseStatus)code, new string('r', length));
        Assert.Equal([expected], await ItemsAsync(new WebSocketInput(socket.Socket), isMasked: false));
    }

    [Fact]
    public async Task Take_AfterError_RepeatsError()
    {
        var reader = Reader(PipeReader.Create(new ReadOnlySequence<byte>([.. ClientFrame.Make(3, []), .. ClientFrame.CreateText("late")])));
        for (var i = 0; i < 3; i++) Assert.Equal(ReceivedItem.Error, reader.Take(await reader.ReadAsync(Token)));
        Assert.Equal(WebSocketCloseStatus.ProtocolError, reader.Error!.Status);
    }

    // The format of the frame header changes at some of these lengths.
    static readonly int[] _lengths = [125, 126, 127, 4096, 65_535, 65_536];

    static Gen<byte[]> TextBytes { get; } = Gen.String["aé€😀\ud83d\ude00"].Select(Encoding.UTF8.GetBytes);

    /// <summary>Generates complete frames. Most of them are valid, so that a sequence contains many items.</summary>
    static Gen<byte[][]> Frames { get; } = Gen.Frequency(
        (30, Payloads().Select(static payload => ClientFrame.Make(ClientFrame.Text, payload))),
        (30, Gen.Select(
            Gen.Int[ClientFrame.Continuation, ClientFrame.Binary], Gen.Bool, Payloads(), static (opcode, fin, payload) => ClientFrame.Make(opcode, payload, fin))),
        (20, Gen.Select(Gen.Int[ClientFrame.Ping, ClientFrame.Pong], Gen.Byte.Array[0, 125], static (opcode, payload) => ClientFrame.Make(opcode, payload))),
        // The framework rejects the codes 1012 to 1014, which were registered later than the code 1011.
        (4, Gen.Select(Gen.OneOf(Gen.Int[0, 1011], Gen.Int[1015, 5000]), Gen.Int[0, 60], static (code, length) => ClientFrame.CreateClose(code, new string('é', length)))),
        (2, Gen.Byte.Array[0, 1].Select(static payload => ClientFrame.Make(ClientFrame.Close, payload))),
        (2, Gen.Byte.Array[1, 5].Select(static reason => ClientFrame.Make(ClientFrame.Close, [0x03, 0xE8, .. reason]))),
        // The framework finds an error only after it has received six bytes of a frame.
        (4, Gen.Select(
            Gen.Int[0, 15].Where(static opcode => opcode != ClientFrame.Close), Gen.Bool, Gen.Int[0, 7], Gen.Bool, Gen.Byte.Array[4, 130],
            static (opcode, fin, rsv, mask, payload) => ClientFrame.Make(opcode, payload, fin, rsv, mask)))).Array[1, 12];

    // The framework finds some invalid bytes later than our parser. The framework finds the byte FF immediately, so
    // invalid payloads end with FF.
    static Gen<byte[]> Payloads() => Gen.Frequency(
        (6, TextBytes), (1, TextBytes.Select(static text => (byte[])[.. text, 0xFF])), (1, Gen.Int[0, _lengths.Length - 1].Select(static index => new byte[_lengths[index]])));

    /// <summary>Returns the frames of a compressed message.</summary>
    static byte[] Compressed(byte[] payload, int fragment)
    {
        const int Rsv1 = 4;
        var chunks = Deflate.Compress(payload).Chunk(fragment).ToArray();
        return [.. chunks.SelectMany((chunk, i) => ClientFrame.Make(i == 0 ? ClientFrame.Binary : ClientFrame.Continuation, chunk, i == chunks.Length - 1, i == 0 ? Rsv1 : 0))];
    }

    static MessageReader Reader(PipeReader input, bool isMasked = true, int maxBytes = 1 << 24, int maxFragments = int.MaxValue, bool decompresses = false) =>
        new(input, isMasked) { MaxMessageBytes = maxBytes, MaxSmallFragments = maxFragments, Decompresses = decompresses };

    static PipeReader InPieces(byte[] bytes, int size)
    {
        var pipe = new Pipe(new PipeOptions(pauseWriterThreshold: 0, minimumSegmentSize: 16));
        _ = WriteAsync();
        return pipe.Reader;

        async Task WriteAsync()
        {
            for (var i = 0; i < bytes.Length; i += size)
            {
                await pipe.Writer.WriteAsync(bytes.AsMemory(i, Math.Min(size, bytes.Length - i)));
                await Task.Yield();
            }

            await pipe.Writer.CompleteAsync();
        }
    }

    static async Task<List<string>> ItemsAsync(
        PipeReader input, bool isMasked = true, int maxBytes = 1 << 24, int maxFragments = int.MaxValue, bool reportsLength = false,
        bool decompresses = false)
    {
        var reader = Reader(input, isMasked, maxBytes, maxFragments, decompresses);
        var items = new List<string>();
        try
        {
            while (true)
            {
                var item = reader.Take(await reader.ReadAsync(Token));
                if (item is ReceivedItem.Nothing or ReceivedItem.Pong) continue;
                items.Add(item == ReceivedItem.Message && reportsLength ? $"{reader.Type} {reader.Payload.Length}".ToLowerInvariant() : Describe(item, reader));
                if (item is ReceivedItem.Close or ReceivedItem.Error) return items;
                if (item == ReceivedItem.Message) reader.Release();
            }
        }
        catch (WebSocketException)
        {
            items.Add("end");
            return items;
        }
    }

    static string Describe(ReceivedItem item, MessageReader reader) => item switch
    {
        ReceivedItem.Message => Item(reader.Type == MessageType.Text, reader.Payload.Span),
        ReceivedItem.Ping => $"ping {Convert.ToHexString(reader.TakePong().AsSpan(2))}",
        ReceivedItem.TooBig => "too big",
        ReceivedItem.TooManyFragments => "too many fragments",
        ReceivedItem.Close => $"close {(int)reader.CloseStatus!.Value} {reader.CloseReason}",
        ReceivedItem.Error => $"error {(int)reader.Error!.Status}",
        _ => item.ToString(),
    };

    static string Item(bool isText, ReadOnlySpan<byte> payload) => $"{(isText ? "text" : "binary")} {Convert.ToHexString(payload)}";

    static WebSocket Framework(Stream stream) =>
        WebSocket.CreateFromStream(stream, new WebSocketCreationOptions { IsServer = true, KeepAliveInterval = Timeout.InfiniteTimeSpan });

    static async Task<List<string>> FrameworkItemsAsync(byte[] bytes)
    {
        var items = new List<string>();
        using var webSocket = Framework(new FrameworkStream(PipeReader.Create(new ReadOnlySequence<byte>(bytes)), items));
        var message = new ArrayBufferWriter<byte>();
        var buffer = new byte[1000];
        try
        {
            while (true)
            {
                var received = await webSocket.ReceiveAsync(buffer.AsMemory(), Token);
                if (received.MessageType == WebSocketMessageType.Close)
                {
                    items.Add($"close {(int)webSocket.CloseStatus!.Value} {webSocket.CloseStatusDescription}");
                    return items;
                }

                message.Write(buffer.AsSpan(0, received.Count));
                if (!received.EndOfMessage) continue;
                items.Add(Item(received.MessageType == WebSocketMessageType.Text, message.WrittenSpan));
                message.ResetWrittenCount();
            }
        }
        catch (WebSocketException)
        {
            // After a protocol error, the framework sends a close frame, which the stream has already recorded as an
            // error.
            if (items is [] || !items[^1].StartsWith("error", StringComparison.Ordinal)) items.Add("end");
            return items;
        }
    }

    /// <summary>Creates fragments of one text without a last fragment.</summary>
    static IEnumerable<byte> Fragments(byte[] text, int fragment, bool hasControlFrames)
    {
        var opcode = ClientFrame.Text;
        for (var i = 0; i < text.Length; i += fragment)
        {
            foreach (var next in ClientFrame.Make(opcode, text.AsSpan(i, Math.Min(fragment, text.Length - i)), fin: false)) yield return next;
            if (hasControlFrames)
            {
                foreach (var next in ClientFrame.Make(ClientFrame.Ping, [0xFF, 0xC0])) yield return next;
            }

            opcode = ClientFrame.Continuation;
        }
    }

    static bool HasInvalidPrefix(ReadOnlySpan<byte> text)
    {
        while (!text.IsEmpty)
        {
            switch (Rune.DecodeFromUtf8(text, out _, out var count))
            {
                case OperationStatus.NeedMoreData:
                    return false;
                case OperationStatus.InvalidData:
                    return true;
            }

            text = text[count..];
        }

        return false;
    }

    /// <summary>The stream of the framework's WebSocket. The stream records pong and close frames as items.</summary>
    sealed class FrameworkStream(PipeReader input, List<string> items) : Stream
    {
        readonly Stream _input = input.AsStream();

        public override bool CanRead => true;
        public override bool CanWrite => true;
        public override bool CanSeek => false;
        public override long Length => throw new NotSupportedException();
        public override long Position { get => throw new NotSupportedException(); set => throw new NotSupportedException(); }

        public override ValueTask<int> ReadAsync(Memory<byte> buffer, CancellationToken cancellationToken = default) => _input.ReadAsync(buffer, cancellationToken);

        public override ValueTask WriteAsync(ReadOnlyMemory<byte> buffer, CancellationToken cancellationToken = default)
        {
            var frame = buffer.Span;
            items.Add(frame[0] == 0x8A ? $"ping {Convert.ToHexString(frame[2..])}" : $"error {BinaryPrimitives.ReadUInt16BigEndian(frame[2..])}");
            return default;
        }

        public override Task FlushAsync(CancellationToken cancellationToken) => Task.CompletedTask;
        public override void Flush() { }
        public override int Read(byte[] buffer, int offset, int count) => throw new NotSupportedException();
        public override long Seek(long offset, SeekOrigin origin) => throw new NotSupportedException();
        public override void SetLength(long value) => throw new NotSupportedException();
        public override void Write(byte[] buffer, int offset, int count) => throw new NotSupportedException();
    }
}
