using System.Text;
using Microsoft.AspNetCore.Builder;
using Microsoft.AspNetCore.Server.Kestrel.Core;

namespace Broadcast.Middleware.Tests.Http;

/// <summary>
/// Tests permessage-deflate (RFC 7692) over TCP. The cases correspond to sections 12 and 13 of the Autobahn|Testsuite.
/// Each client is a member of the group to which the client publishes. So the app echoes each message.
/// </summary>
public sealed class CompressionTests
{
    const string Answer = "permessage-deflate; server_no_context_takeover; client_no_context_takeover";
    const int Threshold = 64, Rsv1 = 4, Rsv2 = 2, Rsv3 = 1;

    static readonly (string, string?) Offer = Extensions("permessage-deflate; client_max_window_bits");

    public static MatrixTheoryData<int, int> Sizes => new([0, 16, 64, 256, 1024, 4096, 8192, 16_384, 32_768, 65_536, 131_072], [0, 64, 1000]);

    public static TheoryData<string> InvalidBytes => [.. Invalid.Keys];

    static readonly Dictionary<string, (byte[] Bytes, int Code)> Invalid = new()
    {
        ["the second reserved bit"] = (ClientFrame.Make(ClientFrame.Text, "hello"u8, rsv: Rsv2), 1002),
        ["the third reserved bit"] = (ClientFrame.Make(ClientFrame.Text, "hello"u8, rsv: Rsv3), 1002),
        ["the second reserved bit on a compressed message"] = (ClientFrame.Make(ClientFrame.Text, Deflate.Compress("hello"), rsv: Rsv1 | Rsv2), 1002),
        // RFC 7692, section 6.1: only the first frame of a compressed message has the bit RSV1. Control frames never
        // have RSV1.
        ["a compressed ping"] = (ClientFrame.Make(ClientFrame.Ping, Deflate.Compress("hello"), rsv: Rsv1), 1002),
        ["a compressed pong"] = (ClientFrame.Make(ClientFrame.Pong, Deflate.Compress("hello"), rsv: Rsv1), 1002),
        ["a compressed close frame"] = (ClientFrame.Make(ClientFrame.Close, [0x03, 0xE8], rsv: Rsv1), 1002),
        ["the bit RSV1 on the second frame of a compressed message"] =
            ([.. ClientFrame.Make(ClientFrame.Text, Deflate.Compress("hello").AsSpan(0, 2), fin: false, rsv: Rsv1), .. ClientFrame.Make(ClientFrame.Continuation, Deflate.Compress("hello").AsSpan(2), rsv: Rsv1)], 1002),
        ["the bit RSV1 on the second frame of a plain message"] =
            ([.. ClientFrame.Make(ClientFrame.Text, "hello"u8, fin: false), .. ClientFrame.Make(ClientFrame.Continuation, "hello"u8, rsv: Rsv1)], 1002),
        ["the bit RSV1 on a continuation without a first frame"] = (ClientFrame.Make(ClientFrame.Continuation, Deflate.Compress("hello"), rsv: Rsv1), 1002),
        ["a reserved block type"] = (ClientFrame.Make(ClientFrame.Text, [0x07, 0x00], rsv: Rsv1), 1007),
        ["a reference to bytes before the message"] = (ClientFrame.Make(ClientFrame.Binary, [0x02, 0x06, 0x00], rsv: Rsv1), 1007),
        ["an invalid length of a stored block"] = (ClientFrame.Make(ClientFrame.Binary, [0x00, 0x05, 0x00, 0x00, 0x00, 0x01], rsv: Rsv1), 1007),
        ["a truncated message"] = (ClientFrame.Make(ClientFrame.Text, Deflate.Compress(Deflate.Json(1000)).AsSpan(0, 100), rsv: Rsv1), 1007),
        ["a truncated message in fragments"] =
            ([.. ClientFrame.Make(ClientFrame.Text, Deflate.Compress(Deflate.Json(1000)).AsSpan(0, 100), fin: false, rsv: Rsv1), .. ClientFrame.Make(ClientFrame.Continuation, [])], 1007),
        ["a message that is not compressed"] = (ClientFrame.Make(ClientFrame.Text, "hello, world"u8, rsv: Rsv1), 1007),
        ["a corrupt first fragment"] = (ClientFrame.Make(ClientFrame.Binary, [0x07, 0x00], fin: false, rsv: Rsv1), 1007),
        ["compressed text that is not UTF-8, before its end"] = (ClientFrame.Make(ClientFrame.Text, Deflate.Compress([0x61, 0xC3, 0x28]), fin: false, rsv: Rsv1), 1007),
        ["compressed text that is not UTF-8"] = (ClientFrame.Make(ClientFrame.Text, Deflate.Compress([0x61, 0xC3, 0x28]), rsv: Rsv1), 1007),
        ["compressed text that ends in the middle of a character"] = (ClientFrame.Make(ClientFrame.Text, Deflate.Compress([0x61, 0xE2, 0x82]), rsv: Rsv1), 1007),
        ["a compressed message one byte too long"] = (ClientFrame.Make(ClientFrame.Binary, Deflate.Compress(new byte[65_537]), rsv: Rsv1), 1009),
        ["a bomb"] = (ClientFrame.Make(ClientFrame.Binary, Deflate.Compress(new byte[64 << 20]), rsv: Rsv1), 1009),
        ["a bomb in fragments"] =
            ([.. ClientFrame.Make(ClientFrame.Binary, Deflate.Compress(new byte[64 << 20]), fin: false, rsv: Rsv1), .. ClientFrame.Make(ClientFrame.Continuation, [])], 1009),
    };

    [Theory]
    [MemberData(nameof(Sizes))]
    public async Task CompressedMessage_AnySizeAndFragments_IsEchoedAndCompressedAboveThreshold(int size, int fragment)
    {
        await using var app = await StartAsync(options => options.MaxMessageBytes = options.MaxSmallFragments = 1 << 18);
        await using var client = await RawClient.OpenAsync(app, Offer);
        foreach (var opcode in new[] { ClientFrame.Text, ClientFrame.Binary })
        {
            var payload = Encoding.UTF8.GetBytes(Deflate.Json(size, opcode));
            await client.SendAsync(Fragments(opcode, Deflate.Compress(payload), fragment));
            var frame = await client.ReadFrameAsync();
            Assert.Equal((opcode, size > Threshold), (frame.Opcode, frame.IsCompressed));
            BytesAssert.Equal(payload, frame.Payload);
        }

        // Each message is compressed on its own, so a client may also send plain messages in between.
        await client.SendAsync(ClientFrame.CreateText("plain"));
        Assert.Equal("plain", (await client.ReadFrameAsync()).Text);
        LogAssert.NoErrors(app);
    }

    [Theory]
    [InlineData("permessage-deflate", Answer)]
    [InlineData("permessage-deflate; server_max_window_bits=9", $"{Answer}; server_max_window_bits=9")]
    [InlineData("permessage-deflate; server_max_window_bits=12; client_max_window_bits=12", $"{Answer}; server_max_window_bits=12")]
    [InlineData("permessage-deflate; server_max_window_bits=15", $"{Answer}; server_max_window_bits=15")]
    [InlineData("permessage-deflate; mode=fast, permessage-deflate", Answer)]
    public async Task Handshake_ValidOffer_CompressesMessages(string offer, string answer)
    {
        await using var app = await StartAsync();
        await using var client = await RawClient.ConnectAsync(app);
        var handshake = await client.HandshakeAsync("/ws", Extensions(offer));
        Assert.Equal((101, answer), (handshake.Status, handshake["Sec-WebSocket-Extensions"]));
        await client.JoinedAsync();
        var text = Deflate.Json(20_000);
        await app.PublishAsync(text);
        var frame = await client.ReadFrameAsync();
        Assert.Equal((true, text), (frame.IsCompressed, frame.Text));
    }

    [Theory]
    [InlineData(null)]
    [InlineData("")]
    [InlineData("permessage-deflate; mode=fast")]
    [InlineData("permessage-deflate; server_no_context_takeover; server_no_context_takeover")]
    [InlineData("permessage-deflate; server_max_window_bits=99")]
    [InlineData("permessage-deflate; server_max_window_bits=\"15")]
    [InlineData("x-webkit-deflate-frame, bbf-usp-protocol")]
    public async Task Handshake_InvalidOrNoOffer_ConnectsWithoutCompression(string? offer)
    {
        await using var app = await StartAsync();
        await using var other = await RawClient.OpenAsync(app, Offer);
        await using var client = await RawClient.ConnectAsync(app);
        var answer = await client.HandshakeAsync("/ws", ("Sec-WebSocket-Extensions", offer));
        Assert.Equal((101, null), (answer.Status, answer["Sec-WebSocket-Extensions"]));
        await client.JoinedAsync();
        var text = Deflate.Json(1000);

        await other.SendAsync(ClientFrame.Make(ClientFrame.Text, Deflate.Compress(text), rsv: Rsv1));

        Assert.Equal((false, text), await client.ReadFrameAsync() is var plain ? (plain.IsCompressed, plain.Text) : default);
        Assert.Equal((true, text), await other.ReadFrameAsync() is var compressed ? (compressed.IsCompressed, compressed.Text) : default);
        await client.SendAsync(ClientFrame.Make(ClientFrame.Text, Deflate.Compress(text), rsv: Rsv1));
        Assert.Equal(1002, await client.ClosedWithAsync());
    }

    [Fact]
    public async Task Handshake_OptionNotSet_HasNoCompression()
    {
        await using var app = await BroadcastApp.StartAsync();
        var answer = await RawClient.TryAsync(app, Offer);
        Assert.Equal((101, null), (answer.Status, answer["Sec-WebSocket-Extensions"]));
    }

    [Fact]
    public async Task CompressMessagesAbove_SetForOneEndpoint_CompressesOnlyThere()
    {
        await using var app = await BroadcastApp.StartAsync(map: static app =>
        {
            app.MapBroadcast("/ws");
            app.MapBroadcast("/fast", static options => options.CompressMessagesAbove = 0);
        });
        await using var plain = await RawClient.OpenAsync(app, Offer);
        await using var client = await RawClient.ConnectAsync(app);
        Assert.Equal(Answer, (await client.HandshakeAsync("/fast", Offer))["Sec-WebSocket-Extensions"]);
        await client.JoinedAsync();
        Assert.False(plain.HasCompression);
        await app.PublishAsync(new string('x', 50));
        Assert.False((await plain.ReadFrameAsync()).IsCompressed);
        Assert.True((await client.ReadFrameAsync()).IsCompressed);
    }

    [Fact]
    public async Task Http2_ValidOffer_CompressesMessages()
    {
        await using var app = await StartAsync(protocols: HttpProtocols.Http2);
        using var http2 = new Http2Client(app);
        await using var client = await http2.HandshakeAsync("/ws", extensions: "permessage-deflate");
        Assert.True(client.HasCompression);
        await client.JoinedAsync();
        var text = Deflate.Json(5000);
        await client.SendAsync(ClientFrame.Make(ClientFrame.Text, Deflate.Compress(text), rsv: Rsv1));
        var frame = await client.ReadFrameAsync();
        Assert.Equal((true, text), (frame.IsCompressed, frame.Text));
    }

    [Fact]
    public async Task TestServer_ValidOffer_HasNoCompression()
    {
        await using var app = await InMemoryApp.StartAsync(options: static options => options.CompressMessagesAbove = Threshold);
        var client = app.Server.CreateWebSocketClient();
        client.ConfigureRequest = static request => request.Headers.SecWebSocketExtensions = "permessage-deflate";
        using var webSocket = await client.ConnectAsync(new Uri("ws://localhost/ws"), TestContext.Current.CancellationToken);
        await app.Registry.OpenedAsync("/ws", 1);
        var text = Deflate.Json(500);
        await app.Broadcaster.PublishAsync(text, Recipients.Group("/ws"), cancellationToken: TestContext.Current.CancellationToken);
        var buffer = new byte[1000];
        var received = await webSocket.ReceiveAsync(buffer, TestContext.Current.CancellationToken).WaitAsync(Eventually.Patience, TestContext.Current.CancellationToken);
        Assert.Equal(text, Encoding.UTF8.GetString(buffer, 0, received.Count));
    }

    [Fact]
    public async Task Message_DisableCompressionSet_IsPlainLiveAndFromHistory()
    {
        await using var app = await StartAsync(options => options.Groups["/ws"] = new() { HistoryMessages = 10, ReplayOnJoin = 10 });
        await using var client = await RawClient.OpenAsync(app, Offer);
        var text = Deflate.Json(500);
        foreach (var isDisabled in new[] { true, false })
        {
            await app.Broadcaster.PublishAsync(
                Message.FromText(text) with { DisableCompression = isDisabled }, Recipients.Group("/ws"), TestContext.Current.CancellationToken);
        }

        await ReadBothAsync(client);
        await using var later = await RawClient.ConnectAsync(app);
        Assert.Equal(101, (await later.HandshakeAsync("/ws", Offer)).Status);
        await ReadBothAsync(later);

        async Task ReadBothAsync(RawClient reader)
        {
            foreach (var isDisabled in new[] { true, false })
            {
                var frame = await reader.ReadFrameAsync();
                Assert.Equal((!isDisabled, text), (frame.IsCompressed, frame.Text));
            }
        }
    }

    [Fact]
    public async Task Message_CompressionDisabledByFilter_IsPlain()
    {
        await using var app = await StartAsync(map: static app => app.MapBroadcast("/ws").Use(static (context, next) =>
        {
            context.Message = context.Message with { DisableCompression = true };
            return next(context);
        }));
        await using var client = await RawClient.OpenAsync(app, Offer);
        var text = Deflate.Json(500);
        await client.SendAsync(ClientFrame.CreateText(text));
        var frame = await client.ReadFrameAsync();
        Assert.Equal((false, text), (frame.IsCompressed, frame.Text));
    }

    [Fact]
    public async Task DirectMessage_AboveThreshold_IsCompressed()
    {
        await using var app = await StartAsync();
        await using var client = await RawClient.OpenAsync(app, Offer);
        var text = Deflate.Json(500);
        await app.PublishToAsync(Recipients.Connection(app.Registry.Connections.Single().Id), text);
        var frame = await client.ReadFrameAsync();
        Assert.Equal((true, text), (frame.IsCompressed, frame.Text));
    }

    [Fact]
    public async Task JsonProtocol_LongMessages_AreCompressed()
    {
        await using var app = await StartAsync(static options => options.CompressMessagesAbove = 300);
        await using var client = await JsonClient.OpenAsync(app, headers: Offer);
        await using var plain = await JsonClient.OpenAsync(app);
        var text = new string('x', 500);
        await app.PublishAsync("short", text);
        var (first, second) = (await client.ReadFrameAsync(), await client.ReadFrameAsync());
        Assert.Equal((false, true), (first.IsCompressed, second.IsCompressed));
        foreach (var frame in new[] { first, second }) Assert.Equal(frame.Text, (await plain.ReadFrameAsync()).Text);
        Assert.Contains(text, second.Text, StringComparison.Ordinal);
    }

    [Theory]
    [InlineData(true, false)]
    [InlineData(false, true)]
    [InlineData(true, true)]
    public async Task Reconnect_WithOrWithoutCompression_ResendsInFormatOfNewTransport(bool before, bool after)
    {
        var clock = new RecoveryClock();
        await using var app = await BroadcastApp.StartReliableAsync(clock, static options => options.CompressMessagesAbove = Threshold);
        await using var client = await ReliableClient.OpenAsync(app, headers: Offered(before));
        Assert.Equal(before, client.Transport.HasCompression);
        string[] texts = [Deflate.Json(500, 1), Deflate.Json(500, 2)];
        await app.PublishAsync(texts);
        await client.ReceivesAsync(texts);
        client.Disconnect();

        var transport = await ReliableClient.AskAsync(app, client.Id, client.Token, "/ws", Offered(after));
        await using var again = await client.ReconnectAsync(transport);

        Assert.Equal(after, transport.HasCompression);
        // The client has acknowledged nothing, so the server sends both messages again. A plain transport must not
        // receive compressed frames: the client would fail on the bit RSV1.
        foreach (var text in texts) await ReceivesAsync(text);
        var next = Deflate.Json(500, 3);
        await app.PublishAsync(next);
        await ReceivesAsync(next);
        LogAssert.NoErrors(app);

        async Task ReceivesAsync(string text)
        {
            var frame = await transport.ReadFrameAsync();
            Assert.Equal(after, frame.IsCompressed);
            Assert.Equal(text, ReliableMessage.Parse(frame.Text).Data);
        }

        static (string, string?)[] Offered(bool isOffered) => isOffered ? [Offer] : [];
    }

    [Theory]
    [MemberData(nameof(InvalidBytes))]
    public async Task InvalidBytes_FromOneClient_CloseOnlyThatConnection(string name)
    {
        var (bytes, code) = Invalid[name];
        await using var app = await StartAsync();
        await using var witness = await RawClient.OpenAsync(app, Offer);
        await using var offender = await RawClient.OpenAsync(app, Offer);

        await offender.SendAsync(bytes);

        Assert.Equal(code, await offender.ClosedWithAsync());
        await Eventually.True(() => app.Registry.Count == 1);
        await app.PublishAsync("still here");
        Assert.Equal("still here", (await witness.ReadFrameAsync()).Text);
        LogAssert.NoErrors(app);
    }

    [Fact]
    public async Task ControlFrames_BetweenCompressedFragments_AreAnsweredPlain()
    {
        await using var app = await StartAsync();
        await using var client = await RawClient.OpenAsync(app, Offer);
        var text = Deflate.Json(1000);
        var compressed = Deflate.Compress(text);
        await client.SendAsync(ClientFrame.Make(ClientFrame.Text, compressed.AsSpan(0, 100), fin: false, rsv: Rsv1));
        await client.SendAsync(ClientFrame.Make(ClientFrame.Ping, new byte[100]));
        var pong = await client.ReadFrameAsync();
        Assert.Equal((ClientFrame.Pong, false, 100), (pong.Opcode, pong.IsCompressed, pong.Payload.Length));
        await client.SendAsync(ClientFrame.Make(ClientFrame.Continuation, compressed.AsSpan(100)));
        Assert.Equal(text, (await client.ReadFrameAsync()).Text);
        await client.SendAsync(ClientFrame.CreateClose(1000, new string('x', 100)));
        var close = await client.ReadCloseAsync();
        Assert.Equal((false, 1000), (close.IsCompressed, close.CloseCode));
    }

    static Task<BroadcastApp> StartAsync(
        Action<BroadcastOptions>? configure = null, Action<WebApplication>? map = null, HttpProtocols protocols = HttpProtocols.Http1) => BroadcastApp.StartAsync(
        map: map,
        options: options =>
        {
            options.CompressMessagesAbove = Threshold;
            configure?.Invoke(options);
        },
        protocols: protocols);

    static (string Name, string? Value) Extensions(string value) => ("Sec-WebSocket-Extensions", value);

    /// <summary>Splits a compressed message into fragments of the given size. For size 0, returns one frame.</summary>
    static byte[] Fragments(int opcode, byte[] compressed, int size)
    {
        if (size == 0) return ClientFrame.Make(opcode, compressed, rsv: Rsv1);
        var frames = new List<byte>();
        for (var at = 0; at < compressed.Length; at += size)
        {
            var end = Math.Min(compressed.Length, at + size);
            frames.AddRange(ClientFrame.Make(
                at == 0 ? opcode : ClientFrame.Continuation, compressed.AsSpan(at, end - at), end == compressed.Length, at == 0 ? Rsv1 : 0));
        }

        return [.. frames];
    }
}
