using System.Diagnostics;
using System.Text;

namespace Broadcast.Middleware.Tests.Wire;

public sealed class ProtocolErrorTests
{
    // Long enough for a busy machine, and less than the timeouts that could end a connection by mistake.
    static readonly TimeSpan Promptly = TimeSpan.FromSeconds(20);

    static readonly Dictionary<string, (byte[] Bytes, int Code)> Errors = new()
    {
        // RFC 6455, section 5.1: a server that receives an unmasked frame closes; 1002 is the code the section names.
        ["an unmasked frame"] = (ClientFrame.Make(ClientFrame.Text, "hello"u8, mask: false), 1002),
        ["an unmasked close frame"] = (ClientFrame.Make(ClientFrame.Close, [0x03, 0xE8, .. "bye"u8], mask: false), 1002),
        // Section 5.2: reserved bits and opcodes fail the connection where no extension was agreed on.
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
        // Section 5.5: control frames have 125 bytes at most and are not fragmented.
        ["a ping of 126 bytes"] = (ClientFrame.Make(ClientFrame.Ping, new byte[126]), 1002),
        ["a close frame of 126 bytes"] = (ClientFrame.Make(ClientFrame.Close, new byte[126]), 1002),
        ["a fragmented ping"] = (ClientFrame.Make(ClientFrame.Ping, "half"u8, fin: false), 1002),
        ["a fragmented close frame"] = (ClientFrame.Make(ClientFrame.Close, [0x03, 0xE8], fin: false), 1002),
        // Section 5.4: how fragments follow each other.
        ["a continuation of nothing"] = (ClientFrame.Make(ClientFrame.Continuation, "orphan"u8), 1002),
        ["a continuation of nothing, not final"] = (ClientFrame.Make(ClientFrame.Continuation, "orphan"u8, fin: false), 1002),
        ["a message inside a fragmented one"] =
            ([.. ClientFrame.Make(ClientFrame.Text, "first"u8, fin: false), .. ClientFrame.Make(ClientFrame.Text, "second"u8)], 1002),
        ["a binary message inside a fragmented text"] =
            ([.. ClientFrame.Make(ClientFrame.Text, "first"u8, fin: false), .. ClientFrame.Make(ClientFrame.Binary, "second"u8)], 1002),
        // Section 5.2: "the most significant bit MUST be 0".
        ["a length with the top bit set"] = (ClientFrame.Make(ClientFrame.Binary, "hello"u8, declared: 1ul << 63), 1002),
        ["the largest length there is"] = (ClientFrame.Make(ClientFrame.Binary, "hello"u8, declared: ulong.MaxValue), 1002),
        // Section 8.1: text that is not UTF-8 fails the connection; 1007 is its code in section 7.4.1.
        ["text that is not UTF-8"] = (ClientFrame.Make(ClientFrame.Text, [0xC3, 0x28]), 1007),
        ["text with a surrogate"] = (ClientFrame.Make(ClientFrame.Text, [0xED, 0xA0, 0x80]), 1007),
        ["text with an overlong encoding"] = (ClientFrame.Make(ClientFrame.Text, [0xC0, 0xAF]), 1007),
        ["text beyond the last code point"] = (ClientFrame.Make(ClientFrame.Text, [0xF4, 0x90, 0x80, 0x80]), 1007),
        ["bad UTF-8 split over two fragments"] =
            ([.. ClientFrame.Make(ClientFrame.Text, [0x61, 0xC3], fin: false), .. ClientFrame.Make(ClientFrame.Continuation, [0x28])], 1007),
        ["text that ends in the middle of a character"] = (ClientFrame.Make(ClientFrame.Text, [0x61, 0xE2, 0x82]), 1007),
        ["fragmented text that ends in the middle of a character"] =
            ([.. ClientFrame.Make(ClientFrame.Text, [0xE2], fin: false), .. ClientFrame.Make(ClientFrame.Continuation, [0x82])], 1007),
        // Section 7.4.1: 1009 for a message that is too big to process.
        ["a message one byte too long"] = (ClientFrame.Make(ClientFrame.Binary, new byte[65_537]), 1009),
        ["a text one byte too long"] = (ClientFrame.Make(ClientFrame.Text, Encoding.ASCII.GetBytes(new string('a', 65_537))), 1009),
        ["a message too long by its fragments"] =
            ([.. ClientFrame.Make(ClientFrame.Binary, new byte[65_536], fin: false), .. ClientFrame.Make(ClientFrame.Continuation, [1])], 1009),
        ["a terabyte, begun"] = (ClientFrame.Make(ClientFrame.Binary, new byte[200_000], declared: 1ul << 40), 1009),
        ["four exabytes, begun"] = (ClientFrame.Make(ClientFrame.Binary, new byte[200_000], declared: 1ul << 62), 1009),
        ["empty fragments"] =
            ([.. ClientFrame.Make(ClientFrame.Text, [], fin: false), .. Repeat(ClientFrame.Make(ClientFrame.Continuation, [], fin: false), 1100)], 1009),
        ["fragments of one byte"] =
            ([.. ClientFrame.Make(ClientFrame.Text, "a"u8, fin: false), .. Repeat(ClientFrame.Make(ClientFrame.Continuation, "a"u8, fin: false), 1100)], 1009),
        // Section 5.5.1: a close frame's payload is empty, or begins with two bytes of code; section 7.4: which codes are sent.
        ["a close frame of one byte"] = (ClientFrame.Make(ClientFrame.Close, [0x03]), 1002),
        ["close code 0"] = (ClientFrame.OfClose(0), 1002),
        ["close code 999"] = (ClientFrame.OfClose(999), 1002),
        ["close code 1004"] = (ClientFrame.OfClose(1004), 1002),
        ["close code 1005"] = (ClientFrame.OfClose(1005), 1002),
        ["close code 1006"] = (ClientFrame.OfClose(1006), 1002),
        ["close code 1015"] = (ClientFrame.OfClose(1015), 1002),
        ["close code 1016"] = (ClientFrame.OfClose(1016), 1002),
        ["close code 2999"] = (ClientFrame.OfClose(2999), 1002),
        ["close code 5000"] = (ClientFrame.OfClose(5000), 1002),
        ["close code 65535"] = (ClientFrame.OfClose(65535), 1002),
        // Not a message, so that 1007 does not fit: a close frame that is not formed as section 5.5.1 has it.
        ["a close reason that is not UTF-8"] = (ClientFrame.Make(ClientFrame.Close, [0x03, 0xE8, 0xC3, 0x28]), 1002),
    };

    public static TheoryData<string> Names => [.. Errors.Keys];

    [Theory]
    [MemberData(nameof(Names))]
    public async Task A_peer_that_breaks_the_protocol_ends_alone_and_is_told_why(string error)
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
    public async Task What_came_before_the_bad_frame_is_still_relayed()
    {
        await using var app = await BroadcastApp.StartAsync();
        await using var witness = await RawClient.OpenAsync(app);
        await using var offender = await RawClient.OpenAsync(app);

        await offender.SendAsync(ClientFrame.OfText("good"), ClientFrame.Make(3, "bad"u8), ClientFrame.OfText("too late"));

        Assert.Equal("good", (await witness.ReadFrameAsync()).Text);
        Assert.Equal(1002, (await offender.ReadCloseAsync()).CloseCode);
        await Eventually.True(() => app.Registry.Count == 1);
        await app.Broadcaster.PublishAsync("next", cancellationToken: TestContext.Current.CancellationToken);
        Assert.Equal("next", (await witness.ReadFrameAsync()).Text);
    }

    [Theory]
    [InlineData(1 << 16)]
    [InlineData(1 << 10)]
    public async Task The_close_frame_reaches_a_peer_that_goes_on_sending(int burst)
    {
        await using var app = await BroadcastApp.StartAsync();
        var bad = ClientFrame.Make(3, "bad"u8);
        var more = new byte[burst];

        for (var i = 0; i < 200; i++)
        {
            await using var client = await RawClient.ConnectAsync(app);
            await client.HandshakeAsync();
            await client.SendAsync(bad);
            // A socket that is closed with any of this unread sends a reset, and a reset throws away what the peer has not read yet.
            await client.SendAsync(more, more);

            // An end before the close frame would throw.
            Assert.Equal(1002, (await client.ReadCloseAsync()).CloseCode);
            client.Finish();
        }

        await Eventually.True(() => app.Registry.Count == 0);
        LogAssert.NoErrors(app);
    }

    [Fact]
    public async Task A_peer_that_never_stops_sending_after_its_bad_frame_is_cut_off_after_a_second()
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
    public async Task A_terabyte_that_goes_on_flowing_takes_no_memory_and_ends_at_the_close_timeout()
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
