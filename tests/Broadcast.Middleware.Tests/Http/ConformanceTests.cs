using System.Text;
using Microsoft.AspNetCore.Builder;

namespace Broadcast.Middleware.Tests.Http;

/// <summary>
/// Tests that correspond to cases of the Autobahn|Testsuite. Each client is a member of the group to which the client
/// publishes. So the app echoes each message.
/// </summary>
public sealed class ConformanceTests
{
    // A close frame can overtake an echo only if the server receives the message and the invalid frame in one packet.
    // So the tests need fewer rounds when the client sends the bytes one by one.
    const int Rounds = 25, RoundsByteByByte = 3;

    static readonly byte[] Ping = ClientFrame.Make(ClientFrame.Ping, []);

    // The three parts of the invalid text: "κόσμε", a code point above U+10FFFF, and "edited".
    static readonly byte[] Valid = Encoding.UTF8.GetBytes("κόσμε"), AboveUnicode = [0xF4, 0x90, 0x80, 0x80], Edited = [.. "edited"u8];

    static readonly Dictionary<string, byte[]> InvalidFrames = new()
    {
        ["3.2: RSV = 2"] = ClientFrame.Make(ClientFrame.Text, "Hello, world!"u8, rsv: 2),
        ["3.3: RSV = 3"] = ClientFrame.Make(ClientFrame.Text, "Hello, world!"u8, rsv: 3),
        ["3.4: RSV = 4"] = ClientFrame.Make(ClientFrame.Text, "Hello, world!"u8, rsv: 4),
        ["4.1.3: opcode 5 without a payload"] = ClientFrame.Make(5, []),
        ["4.1.4: opcode 6 with a payload"] = ClientFrame.Make(6, "Hello, world!"u8),
        ["4.1.5: opcode 7 with a payload"] = ClientFrame.Make(7, "Hello, world!"u8),
        ["4.2.3: opcode 13 without a payload"] = ClientFrame.Make(13, []),
        ["4.2.4: opcode 14 with a payload"] = ClientFrame.Make(14, "Hello, world!"u8),
        ["4.2.5: opcode 15 with a payload"] = ClientFrame.Make(15, "Hello, world!"u8),
    };

    public static MatrixTheoryData<string, bool> Cases => new(InvalidFrames.Keys, [false, true]);

    [Theory]
    [MemberData(nameof(Cases))]
    public async Task InvalidFrame_AfterValidMessage_ClosesConnectionAfterEcho(string name, bool isSentByteByByte)
    {
        await using var app = await BroadcastApp.StartAsync();
        for (var i = 0; i < (isSentByteByByte ? RoundsByteByByte : Rounds); i++)
        {
            await using var client = await RawClient.OpenAsync(app);

            await SendAsync(client, isSentByteByByte, [.. ClientFrame.CreateText("Hello, world!"), .. InvalidFrames[name], .. Ping]);

            Assert.Equal("Hello, world!", (await client.ReadFrameAsync()).Text);
            Assert.Equal(1002, (await client.ReadFrameAsync()).CloseCode);
        }

        LogAssert.NoErrors(app);
    }

    /// <summary>This test corresponds to case 5.15.</summary>
    [Theory]
    [InlineData(false)]
    [InlineData(true)]
    public async Task ContinuationFrame_AfterCompleteMessage_ClosesAfterEcho(bool isSentByteByByte)
    {
        await using var app = await BroadcastApp.StartAsync();
        for (var i = 0; i < (isSentByteByByte ? RoundsByteByByte : Rounds); i++)
        {
            await using var client = await RawClient.OpenAsync(app);

            await SendAsync(client, isSentByteByByte,
            [
                .. ClientFrame.Make(ClientFrame.Text, "fragment1"u8, fin: false),
                .. ClientFrame.Make(ClientFrame.Continuation, "fragment2"u8),
                .. ClientFrame.Make(ClientFrame.Continuation, "fragment3"u8, fin: false),
                .. ClientFrame.CreateText("fragment4"),
            ]);

            Assert.Equal("fragment1fragment2", (await client.ReadFrameAsync()).Text);
            Assert.Equal(1002, (await client.ReadFrameAsync()).CloseCode);
        }
    }

    /// <summary>The close frame for invalid text must not overtake an echo.</summary>
    [Fact]
    public async Task InvalidText_AfterManyMessages_ClosesConnectionAfterAllEchoes()
    {
        const int Messages = 200;
        await using var app = await BroadcastApp.StartAsync();
        await using var client = await RawClient.OpenAsync(app);
        var messages = Enumerable.Range(0, Messages).SelectMany(i => ClientFrame.CreateText($"{i}"));

        await client.SendAsync((byte[])[.. messages, .. ClientFrame.Make(ClientFrame.Text, AboveUnicode)]);

        for (var i = 0; i < Messages; i++) Assert.Equal($"{i}", (await client.ReadFrameAsync()).Text);
        Assert.Equal(1007, (await client.ReadFrameAsync()).CloseCode);
    }

    /// <summary>This test corresponds to cases 6.4.1 and 6.4.2. The client does not send the end of the message.</summary>
    [Theory]
    [InlineData(4)]
    [InlineData(2)]
    public async Task InvalidUtf8_InFragment_ClosesBeforeEndOfMessage(int invalidBytes)
    {
        await using var app = await BroadcastApp.StartAsync();
        await using var client = await RawClient.OpenAsync(app);

        await client.SendAsync(ClientFrame.Make(ClientFrame.Text, Valid, fin: false));
        await client.AssertOpenAsync();
        await client.SendAsync(ClientFrame.Make(ClientFrame.Continuation, AboveUnicode.AsSpan(0, invalidBytes), fin: false));

        Assert.Equal(1007, (await client.ReadFrameAsync()).CloseCode);
        await Eventually.True(() => app.Registry.Count == 0);
        LogAssert.NoErrors(app);
    }

    /// <summary>
    /// This test corresponds to cases 6.4.3 and 6.4.4. The client does not send the end of the frame. For a large
    /// frame, the server needs several reads.
    /// </summary>
    [Theory]
    [InlineData(4, 0)]
    [InlineData(2, 0)]
    [InlineData(2, 100)]
    [InlineData(2, 40_000)]
    public async Task InvalidUtf8_InsideFrame_ClosesBeforeEndOfFrame(int invalidBytes, int padding)
    {
        await using var app = await BroadcastApp.StartAsync();
        await using var client = await RawClient.OpenAsync(app);
        byte[] start = [.. Encoding.ASCII.GetBytes(new string('a', padding)), .. Valid];
        var frame = ClientFrame.Make(ClientFrame.Text, [.. start, .. AboveUnicode, .. Edited]);
        var startOfInvalid = frame.Length - AboveUnicode.Length - Edited.Length;

        await client.SendAsync(ClientFrame.CreateText("before"));
        await client.SendAsync(frame.AsMemory(0, startOfInvalid));
        Assert.Equal("before", (await client.ReadFrameAsync()).Text);
        // The first of the four bytes can be the start of a valid character.
        await client.SendAsync(frame.AsMemory(startOfInvalid, 1));
        await client.SendAsync(frame.AsMemory(startOfInvalid + 1, invalidBytes - 1));

        Assert.Equal(1007, (await client.ReadFrameAsync()).CloseCode);
        await Eventually.True(() => app.Registry.Count == 0);
        LogAssert.NoErrors(app);
    }

    [Theory]
    [InlineData(1)]
    [InlineData(3)]
    [InlineData(130)]
    public async Task ValidUtf8_InSmallPieces_IsEchoed(int pieceSize)
    {
        await using var app = await BroadcastApp.StartAsync();
        await using var client = await RawClient.OpenAsync(app);
        var text = string.Concat(Enumerable.Repeat("κόσμε €😀 ascii ", 60));
        var bytes = Encoding.UTF8.GetBytes(text);
        byte[] frames =
        [
            .. ClientFrame.CreateText(text),
            .. ClientFrame.Make(ClientFrame.Text, bytes.AsSpan(0, 101), fin: false),
            .. Ping,
            .. ClientFrame.Make(ClientFrame.Continuation, bytes.AsSpan(101, 1), fin: false),
            .. ClientFrame.Make(ClientFrame.Continuation, bytes.AsSpan(102)),
            .. ClientFrame.Make(ClientFrame.Binary, [0xFF, 0xFE]),
        ];

        for (var i = 0; i < frames.Length; i += pieceSize) await client.SendAsync(frames.AsMemory(i, Math.Min(pieceSize, frames.Length - i)));

        var received = new List<ServerFrame>();
        while (received.Count < 4) received.Add(await client.ReadFrameAsync());
        Assert.Equal([text, text], received.Where(static frame => frame.Opcode == ClientFrame.Text).Select(static frame => frame.Text));
        Assert.Single(received, static frame => frame.Opcode == ClientFrame.Pong);
        Assert.Equal(ClientFrame.Binary, received[^1].Opcode);
    }

    /// <summary>Tests a client that does not read. The server must not wait without a limit before it ends the connection.</summary>
    [Fact]
    public async Task ProtocolError_ClientDoesNotRead_IsDisconnectedAfterCloseTimeout()
    {
        await using var app = await BroadcastApp.StartAsync(
            Stall.SmallSendBuffers,
            app => app.MapBroadcast("/ws").Use(async (context, next) =>
            {
                for (var i = 0; i < 12; i++) await context.Broadcaster.PublishAsync(new string('x', 60_000), Recipients.Connection(context.Connection.Id));
                await next(context);
            }),
            options => options.CloseTimeout = TimeSpan.FromMilliseconds(500));
        await using var client = await RawClient.OpenAsync(app, receiveBuffer: Stall.SmallWindow);

        await client.SendAsync(ClientFrame.CreateText("go"), ClientFrame.Make(3, []));

        await Eventually.True(() => app.Registry.Count == 0);
        LogAssert.NoErrors(app);
    }

    static async Task SendAsync(RawClient client, bool isSentByteByByte, byte[] bytes)
    {
        if (!isSentByteByByte)
        {
            await client.SendAsync(bytes);
            return;
        }

        foreach (var next in bytes)
        {
            // The server may already have closed the socket.
            if (await Record.ExceptionAsync(() => client.SendAsync(new byte[] { next })) is not null) return;
        }
    }
}
