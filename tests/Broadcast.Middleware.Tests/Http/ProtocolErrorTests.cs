using System.Diagnostics;
using System.Text;

namespace Broadcast.Middleware.Tests.Http;

public sealed class ProtocolErrorTests
{
    // A time limit that is long enough for a busy machine, and shorter than each timeout that could end a connection by mistake.
    static readonly TimeSpan Promptly = TimeSpan.FromSeconds(20);

    static readonly Dictionary<string, (byte[] Bytes, int Code)> Errors = new()
    {
        // RFC 6455, section 5.1: a server closes the connection after an unmasked frame, with code 1002.
        ["an unmasked frame"] = (ClientFrame.Make(ClientFrame.Text, "hello"u8, mask: false), 1002),
        ["an unmasked close frame"] = (ClientFrame.Make(ClientFrame.Close, [0x03, 0xE8, .. "bye"u8], mask: false), 1002),
        // Section 5.2: without a negotiated extension, reserved bits and reserved opcodes are errors.
        ["the first reserved bit, as of a compressed frame"] = (ClientFrame.Make(ClientFrame.Text, "hello"u8, rsv: 4), 1002),
        ["the second reserved bit"] = (ClientFrame.Make(ClientFrame.Text, "hello"u8, rsv: 2), 1002),
        ["the third reserved bit"] = (ClientFrame.Make(ClientFrame.Text, "hello"u8, rsv: 1), 1002),
        ["a reserved bit on a ping"] = (ClientFrame.Make(ClientFrame.Ping, [], rsv: 4), 1002),
        ["opcode 3"] = (ClientFrame.Make(3, "hello"u8), 1002),
        ["opcode 4"] = (ClientFrame.Make(4, "hello"u8), 1002),
        ["opcode 5"] = (ClientFrame.Make(5, "hello"u8), 1002),
        ["opcode 6"] = (ClientFrame.Make(6, "hello"u8), 1002),
        ["opcode 7"] = (ClientFrame.Make(7, "hello"u8), 1002),
        ["opcode 11"] = (ClientFrame.Make(11, []), 1002),
        ["opcode 12"] = (ClientFrame.Make(12, []), 1002),
        ["opcode 13"] = (ClientFrame.Make(13, []), 1002),
        ["opcode 14"] = (ClientFrame.Make(14, []), 1002),
        ["opcode 15"] = (ClientFrame.Make(15, []), 1002),
        // Section 5.5: a control frame has at most 125 bytes and is not fragmented.
        ["a ping of 126 bytes"] = (ClientFrame.Make(ClientFrame.Ping, new byte[126]), 1002),
        ["a close frame of 126 bytes"] = (ClientFrame.Make(ClientFrame.Close, new byte[126]), 1002),
        ["a fragmented ping"] = (ClientFrame.Make(ClientFrame.Ping, "half"u8, fin: false), 1002),
        ["a fragmented close frame"] = (ClientFrame.Make(ClientFrame.Close, [0x03, 0xE8], fin: false), 1002),
        // Section 5.4: a message consists of a first fragment and its continuations, without another data frame between them.
        ["a continuation without a first fragment"] = (ClientFrame.Make(ClientFrame.Continuation, "orphan"u8), 1002),
        ["a continuation without a first fragment, not final"] = (ClientFrame.Make(ClientFrame.Continuation, "orphan"u8, fin: false), 1002),
        ["a message inside a fragmented one"] =
            ([.. ClientFrame.Make(ClientFrame.Text, "first"u8, fin: false), .. ClientFrame.Make(ClientFrame.Text, "second"u8)], 1002),
        ["a binary message inside a fragmented text"] =
            ([.. ClientFrame.Make(ClientFrame.Text, "first"u8, fin: false), .. ClientFrame.Make(ClientFrame.Binary, "second"u8)], 1002),
        // Section 5.2: the most significant bit of a 64-bit length is 0.
        ["a length with the top bit set"] = (ClientFrame.Make(ClientFrame.Binary, "hello"u8, declared: 1ul << 63), 1002),
        ["the largest possible length"] = (ClientFrame.Make(ClientFrame.Binary, "hello"u8, declared: ulong.MaxValue), 1002),
        // Section 8.1: text that is not UTF-8 is an error. Section 7.4.1 defines code 1007 for this error.
        ["text that is not UTF-8"] = (ClientFrame.Make(ClientFrame.Text, [0xC3, 0x28]), 1007),
        ["text with a surrogate"] = (ClientFrame.Make(ClientFrame.Text, [0xED, 0xA0, 0x80]), 1007),
        ["text with an overlong encoding"] = (ClientFrame.Make(ClientFrame.Text, [0xC0, 0xAF]), 1007),
        ["text beyond the last code point"] = (ClientFrame.Make(ClientFrame.Text, [0xF4, 0x90, 0x80, 0x80]), 1007),
        ["bad UTF-8 split over two fragments"] =
            ([.. ClientFrame.Make(ClientFrame.Text, [0x61, 0xC3], fin: false), .. ClientFrame.Make(ClientFrame.Continuation, [0x28])], 1007),
        ["text that ends in the middle of a character"] = (ClientFrame.Make(ClientFrame.Text, [0x61, 0xE2, 0x82]), 1007),
        ["fragmented text that ends in the middle of a character"] =
            ([.. ClientFrame.Make(ClientFrame.Text, [0xE2], fin: false), .. ClientFrame.Make(ClientFrame.Continuation, [0x82])], 1007),
        // Section 7.4.1: code 1009 means that a message is too big to process.
        ["a message one byte too long"] = (ClientFrame.Make(ClientFrame.Binary, new byte[65_537]), 1009),
        ["a text one byte too long"] = (ClientFrame.Make(ClientFrame.Text, Encoding.ASCII.GetBytes(new string('a', 65_537))), 1009),
        ["fragments that exceed the limit together"] =
            ([.. ClientFrame.Make(ClientFrame.Binary, new byte[65_536], fin: false), .. ClientFrame.Make(ClientFrame.Continuation, [1])], 1009),
        ["the start of a terabyte"] = (ClientFrame.Make(ClientFrame.Binary, new byte[200_000], declared: 1ul << 40), 1009),
        ["the start of four exabytes"] = (ClientFrame.Make(ClientFrame.Binary, new byte[200_000], declared: 1ul << 62), 1009),
        ["empty fragments"] =
            ([.. ClientFrame.Make(ClientFrame.Text, [], fin: false), .. Repeat(ClientFrame.Make(ClientFrame.Continuation, [], fin: false), 1100)], 1009),
        ["fragments of one byte"] =
            ([.. ClientFrame.Make(ClientFrame.Text, "a"u8, fin: false), .. Repeat(ClientFrame.Make(ClientFrame.Continuation, "a"u8, fin: false), 1100)], 1009),
        // Section 5.5.1: the payload of a close frame is empty or starts with a two-byte code. Section 7.4 lists the
        // codes.
        ["a close frame of one byte"] = (ClientFrame.Make(ClientFrame.Close, [0x03]), 1002),
        ["close code 0"] = (ClientFrame.CreateClose(0), 1002),
        ["close code 999"] = (ClientFrame.CreateClose(999), 1002),
        ["close code 1004"] = (ClientFrame.CreateClose(1004), 1002),
        ["close code 1005"] = (ClientFrame.CreateClose(1005), 1002),
        ["close code 1006"] = (ClientFrame.CreateClose(1006), 1002),
        ["close code 1015"] = (ClientFrame.CreateClose(1015), 1002),
        ["close code 1016"] = (ClientFrame.CreateClose(1016), 1002),
        ["close code 2999"] = (ClientFrame.CreateClose(2999), 1002),
        ["close code 5000"] = (ClientFrame.CreateClose(5000), 1002),
        ["close code 65535"] = (ClientFrame.CreateClose(65535), 1002),
        // The reason of this close frame is not UTF-8. A close frame is not a message, so the server uses code 1002 for
        // a violation of section 5.5.1.
        ["a close reason that is not UTF-8"] = (ClientFrame.Make(ClientFrame.Close, [0x03, 0xE8, 0xC3, 0x28]), 1002),
    };

    public static TheoryData<string> Names => [.. Errors.Keys];

    [Theory]
    [MemberData(nameof(Names))]
    public async Task ProtocolError_OfOnePeer_ClosesOnlyThatConnection(string error)
    {
        var (bytes, code) = Errors[error];
        await using var app = await BroadcastApp.StartAsync(options: options => options.CloseTimeout = TimeSpan.FromMinutes(1));
        await using var witness = await RawClient.OpenAsync(app);
        await using var offender = await RawClient.OpenAsync(app);

        var started = Stopwatch.GetTimestamp();
        await offender.SendAsync(bytes);
        var close = await offender.ReadCloseAsync();
        var took = Stopwatch.GetElapsedTime(started);
        offender.Finish();

        Assert.Equal(code, close.CloseCode);
        Assert.InRange(took, TimeSpan.Zero, Promptly);
        await Eventually.True(() => app.Registry.Count == 1, Promptly);
        await app.Broadcaster.PublishAsync("still here", cancellationToken: TestContext.Current.CancellationToken);
        Assert.Equal("still here", (await witness.ReadFrameAsync()).Text);
        LogAssert.NoErrors(app);
    }

    [Fact]
    public async Task Message_SentRightBeforeProtocolError_IsRelayed()
    {
        await using var app = await BroadcastApp.StartAsync();
        await using var witness = await RawClient.OpenAsync(app);
        await using var offender = await RawClient.OpenAsync(app);

        await offender.SendAsync(ClientFrame.CreateText("good"), ClientFrame.Make(3, "bad"u8), ClientFrame.CreateText("too late"));

        Assert.Equal("good", (await witness.ReadFrameAsync()).Text);
        Assert.Equal(1002, (await offender.ReadCloseAsync()).CloseCode);
        await Eventually.True(() => app.Registry.Count == 1);
        await app.Broadcaster.PublishAsync("next", cancellationToken: TestContext.Current.CancellationToken);
        Assert.Equal("next", (await witness.ReadFrameAsync()).Text);
    }

    [Theory]
    [InlineData(1 << 16)]
    [InlineData(1 << 10)]
    public async Task CloseFrame_PeerKeepsSending_StillArrives(int burst)
    {
        // The time for which the server waits for more bytes from a client after the server has sent a close frame.
        var longestPause = TimeSpan.FromMilliseconds(250);
        await using var app = await BroadcastApp.StartAsync();
        var bad = ClientFrame.Make(3, "bad"u8);
        var more = new byte[burst];
        var keptSending = 0;

        for (var i = 0; i < 200; i++)
        {
            await using var client = await RawClient.ConnectAsync(app);
            await client.HandshakeAsync();
            var started = Stopwatch.GetTimestamp();
            var error = await Record.ExceptionAsync(async () =>
            {
                await client.SendAsync(bad);
                // When a program closes a socket with unread bytes, the system sends a reset. A reset discards bytes
                // that the peer has not read yet.
                await client.SendAsync(more, more);

                // The read throws if the transport ends before the close frame.
                Assert.Equal(1002, (await client.ReadCloseAsync()).CloseCode);
                client.Finish();
            });
            // A busy machine can suspend the client for longer than the server waits. Ignore such a round.
            if (Stopwatch.GetElapsedTime(started) > longestPause / 2) continue;
            Assert.Null(error);
            keptSending++;
        }

        Assert.NotEqual(0, keptSending);
        await Eventually.True(() => app.Registry.Count == 0);
        LogAssert.NoErrors(app);
    }

    [Fact]
    public async Task ProtocolError_PeerNeverStopsSending_DisconnectsBeforeCloseTimeout()
    {
        await using var app = await BroadcastApp.StartAsync(options: options => options.CloseTimeout = TimeSpan.FromMinutes(1));
        await using var client = await RawClient.OpenAsync(app);
        await client.SendAsync(ClientFrame.Make(3, "bad"u8));
        var started = Stopwatch.GetTimestamp();

        var sending = Record.ExceptionAsync(async () =>
        {
            while (true) await client.SendAsync(new byte[4096]);
        });

        await Eventually.True(() => app.Registry.Count == 0);
        Assert.InRange(Stopwatch.GetElapsedTime(started), TimeSpan.Zero, Promptly);
        Assert.IsAssignableFrom<IOException>(await sending);
    }

    [Fact]
    public async Task HugeFrame_PeerNeverStopsSending_IsClosedWithCode1009AndDisconnected()
    {
        await using var app = await BroadcastApp.StartAsync(options: options => options.CloseTimeout = TimeSpan.FromMilliseconds(500));
        await using var client = await RawClient.OpenAsync(app);
        await client.SendAsync(ClientFrame.Make(ClientFrame.Binary, new byte[200_000], declared: 1ul << 40));

        var sending = Record.ExceptionAsync(async () =>
        {
            while (true) await client.SendAsync(new byte[64 * 1024]);
        });

        Assert.Equal(1009, (await client.ReadCloseAsync()).CloseCode);
        await Eventually.True(() => app.Registry.Count == 0);
        Assert.IsAssignableFrom<IOException>(await sending);
        LogAssert.NoErrors(app);
    }

    static byte[] Repeat(byte[] frame, int times) => [.. Enumerable.Repeat(frame, times).SelectMany(bytes => bytes)];
}
