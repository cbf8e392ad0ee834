using System.Net;
using System.Net.WebSockets;
using System.Text;
using Microsoft.AspNetCore.Server.Kestrel.Core;

namespace Broadcast.Middleware.Tests.Http;

public sealed class Http2Tests
{
    [Theory]
    [InlineData(0)]
    [InlineData(1)]
    [InlineData(125)]
    [InlineData(126)]
    [InlineData(65_535)]
    [InlineData(65_536)]
    public async Task Message_OfAnyLength_IsRelayedUnchanged(int length)
    {
        await using var app = await StartAsync();
        using var http2 = new Http2Client(app);
        await using var sender = await http2.OpenRawAsync();
        await using var other = await http2.OpenRawAsync();
        var payload = Encoding.ASCII.GetBytes(new string('x', length));

        await sender.SendAsync(ClientFrame.Make(ClientFrame.Binary, payload));

        foreach (var client in new[] { sender, other })
        {
            var frame = await client.ReadFrameAsync();
            Assert.Equal(ClientFrame.Binary, frame.Opcode);
            BytesAssert.Equal(payload, frame.Payload);
        }
    }

    [Fact]
    public async Task WebSockets_ManyOnOneHttp2Connection_AllReceiveMessage()
    {
        const int Count = 20;
        await using var app = await StartAsync();
        using var http2 = new Http2Client(app);
        var sockets = new List<ClientWebSocket>();
        for (var i = 0; i < Count; i++) sockets.Add(await http2.OpenAsync());
        await app.Registry.OpenedAsync("/ws", Count);

        Assert.Single(app.Registry.Connections.Select(connection => connection.HttpContext.Connection.Id).Distinct());
        Assert.All(app.Registry.Connections, connection => Assert.Equal("HTTP/2", connection.HttpContext.Request.Protocol));
        await sockets[0].SendAsync("to all of us"u8.ToArray(), WebSocketMessageType.Text, true, TestContext.Current.CancellationToken);
        var buffer = new byte[100];
        foreach (var socket in sockets)
        {
            var received = await socket.ReceiveAsync(buffer, TestContext.Current.CancellationToken).WaitAsync(Eventually.Patience, TestContext.Current.CancellationToken);
            Assert.Equal("to all of us", Encoding.UTF8.GetString(buffer, 0, received.Count));
        }

        foreach (var socket in sockets)
        {
            await socket.CloseAsync(WebSocketCloseStatus.NormalClosure, "bye", TestContext.Current.CancellationToken);
            Assert.Equal((WebSocketCloseStatus.NormalClosure, "bye"), (socket.CloseStatus, socket.CloseStatusDescription));
            socket.Dispose();
        }

        await Eventually.True(() => app.Registry.Count == 0);
        LogAssert.NoErrors(app);
    }

    [Fact]
    public async Task PublishedMessages_OverHttp2_ArriveInOrder()
    {
        const int Messages = 3_000;
        await using var app = await StartAsync();
        using var http2 = new Http2Client(app);
        await using var client = await http2.OpenRawAsync();
        var received = 0;

        await Task.WhenAll(
            Numbered.PublishAllAsync(app, Messages, 1_000, () => Volatile.Read(ref received)),
            Numbered.ReadAllAsync(client, Messages, count => Volatile.Write(ref received, count)));
    }

    public static TheoryData<string, byte[], int> Errors => new()
    {
        { "an unmasked frame", ClientFrame.Make(ClientFrame.Text, "hello"u8, mask: false), 1002 },
        { "a reserved bit", ClientFrame.Make(ClientFrame.Text, "hello"u8, rsv: 4), 1002 },
        { "a reserved opcode", ClientFrame.Make(3, "hello"u8), 1002 },
        { "text that is not UTF-8", ClientFrame.Make(ClientFrame.Text, [0xC3, 0x28]), 1007 },
        { "a message one byte too long", ClientFrame.Make(ClientFrame.Binary, new byte[65_537]), 1009 },
    };

    [Theory]
    [MemberData(nameof(Errors))]
    public async Task ProtocolError_OfOnePeer_ClosesOnlyThatConnection(string error, byte[] bytes, int code)
    {
        await using var app = await StartAsync();
        using var http2 = new Http2Client(app);
        await using var witness = await http2.OpenRawAsync();
        await using var offender = await http2.OpenRawAsync();

        await offender.SendAsync(bytes);

        var close = await offender.ReadCloseAsync();
        Assert.True(code == close.CloseCode, $"{error}: {close.CloseCode}");
        await offender.DisposeAsync();
        await Eventually.True(() => app.Registry.Count == 1);
        await app.Broadcaster.PublishAsync("still here", cancellationToken: TestContext.Current.CancellationToken);
        Assert.Equal("still here", (await witness.ReadFrameAsync()).Text);
        LogAssert.NoErrors(app);
    }

    [Fact]
    public async Task CloseFromApp_AfterMessages_DeliversMessagesBeforeCloseFrame()
    {
        await using var app = await StartAsync();
        using var http2 = new Http2Client(app);
        await using var client = await http2.OpenRawAsync();
        var token = TestContext.Current.CancellationToken;

        for (var i = 0; i < 100; i++) await app.Broadcaster.PublishAsync(Numbered.Make(i, 100), cancellationToken: token);
        await app.Broadcaster.CloseAsync(app.Registry.Connections.Single().Id, (WebSocketCloseStatus)4001, "enough", token);

        await Numbered.ReadAllAsync(client, 100);
        var close = await client.ReadFrameAsync();
        Assert.Equal((4001, "enough"), (close.CloseCode, close.CloseReason));
        await client.SendAsync(ClientFrame.CreateClose(4001));
        Assert.Equal(TransportEnd.Finished, await client.ReadEndAsync());
        await Eventually.True(() => app.Registry.Count == 0);
    }

    [Fact]
    public async Task StreamReset_OfOneWebSocket_LeavesOtherWebSocketsOpen()
    {
        await using var app = await StartAsync();
        using var http2 = new Http2Client(app);
        await using var witness = await http2.OpenRawAsync();
        var leaving = await http2.OpenRawAsync();

        await leaving.DisposeAsync();

        await Eventually.True(() => app.Registry.Count == 1);
        await witness.SendAsync(ClientFrame.CreateText("alone"));
        Assert.Equal("alone", (await witness.ReadFrameAsync()).Text);
        LogAssert.NoErrors(app);
    }

    [Fact]
    public async Task Http2ConnectionReset_ManyWebSockets_RemovesOnlyWebSocketsOfThatConnection()
    {
        await using var app = await StartAsync();
        using var stays = new Http2Client(app);
        using var vanishes = new Http2Client(app);
        await using var witness = await stays.OpenRawAsync();
        for (var i = 0; i < 10; i++) await vanishes.OpenRawAsync();

        vanishes.Reset();

        await Eventually.True(() => app.Registry.Count == 1);
        await app.Broadcaster.PublishAsync("still here", cancellationToken: TestContext.Current.CancellationToken);
        Assert.Equal("still here", (await witness.ReadFrameAsync()).Text);
        LogAssert.NoErrors(app);
    }

    [Fact]
    public async Task PlainRequest_OverHttp2_IsRefusedWithStatus400AndExplanation()
    {
        await using var app = await StartAsync();
        using var http2 = new Http2Client(app);

        using var response = await http2.GetAsync();

        Assert.Equal(HttpStatusCode.BadRequest, response.StatusCode);
        Assert.Contains("RFC 8441", await response.Content.ReadAsStringAsync(TestContext.Current.CancellationToken), StringComparison.Ordinal);
        Assert.Equal(0, app.Registry.Count);
    }

    [Fact]
    public async Task Shutdown_WebSocketOverHttp2_IsClosedWithCode1001()
    {
        await using var app = await StartAsync();
        using var http2 = new Http2Client(app);
        await using var client = await http2.OpenRawAsync();

        var stopping = app.StopAsync();
        Assert.Equal(1001, (await client.ReadFrameAsync()).CloseCode);
        await client.SendAsync(ClientFrame.CreateClose(1001));
        Assert.Equal(TransportEnd.Finished, await client.ReadEndAsync());
        await client.DisposeAsync();

        await stopping.WaitAsync(Eventually.Patience, TestContext.Current.CancellationToken);
        Assert.Equal(0, app.Registry.Count);
        LogAssert.NoErrors(app);
    }

    static Task<BroadcastApp> StartAsync() => BroadcastApp.StartAsync(protocols: HttpProtocols.Http2);
}
