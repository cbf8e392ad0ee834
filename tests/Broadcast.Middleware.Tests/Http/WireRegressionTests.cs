using System.Net.WebSockets;
using Microsoft.AspNetCore.Builder;
using Microsoft.AspNetCore.Hosting;
using Microsoft.Extensions.DependencyInjection;
using Microsoft.Extensions.Time.Testing;

namespace Broadcast.Middleware.Tests.Http;

/// <summary>Regression tests. Each test reproduces one earlier bug of the HTTP layer with few steps.</summary>
public sealed class WireRegressionTests
{
    static readonly TimeSpan Second = TimeSpan.FromSeconds(1);

    /// <summary>RFC 9110, section 7.8: "A server MUST ignore an Upgrade header field that is received in an HTTP/1.0 request."</summary>
    [Fact]
    public async Task Handshake_Http10WithUpgradeHeader_IsRefused()
    {
        await using var app = await BroadcastApp.StartAsync();
        await using var client = await RawClient.ConnectAsync(app);

        Assert.Equal(400, (await client.RequestAsync("GET /ws HTTP/1.0")).Status);
    }

    /// <summary>RFC 9110, section 15.5.22: "The server MUST send an Upgrade header field in a 426 response".</summary>
    [Fact]
    public async Task Handshake_UnsupportedVersion_SendsUpgradeHeader()
    {
        await using var app = await BroadcastApp.StartAsync();
        await using var client = await RawClient.ConnectAsync(app);

        var answer = await client.HandshakeAsync(changes: ("Sec-WebSocket-Version", "8"));

        Assert.Equal(426, answer.Status);
        Assert.Equal("websocket", answer["Upgrade"]);
    }

    /// <summary>
    /// A receive completes only when the buffer is full, and the pooled buffer is larger than the limit. The server
    /// must still detect the first byte over the limit.
    /// </summary>
    [Fact]
    public async Task HugeFrame_OneByteOverLimitReceived_ClosesWithCode1009()
    {
        await using var app = await BroadcastApp.StartAsync();
        await using var client = await RawClient.OpenAsync(app);

        await client.SendAsync(ClientFrame.Make(ClientFrame.Binary, new byte[65_537], declared: 1ul << 40));

        Assert.Equal(1009, (await client.ReadCloseAsync()).CloseCode);
    }

    [Fact]
    public async Task MessageFilter_CanceledByDisconnect_IsNotLoggedAsError()
    {
        var entered = new TaskCompletionSource();
        await using var app = await BroadcastApp.StartAsync(map: app => app.MapBroadcast("/ws").Use(async (context, _) =>
        {
            entered.SetResult();
            await Task.Delay(Timeout.Infinite, context.Connection.ConnectionAborted);
        }));
        await using var client = await RawClient.OpenAsync(app);
        await client.SendAsync(ClientFrame.CreateText("wait for me"));
        await entered.Task.WaitAsync(TestContext.Current.CancellationToken);

        client.Reset();

        await Eventually.True(() => app.Registry.Count == 0);
        LogAssert.NoErrors(app);
    }

    /// <summary>While the connect filter runs, the server reads no data, so it could not receive a pong.</summary>
    [Fact]
    public async Task KeepAlive_WhileConnectFilterRuns_DoesNotDisconnect()
    {
        var (time, started) = (new FakeTimeProvider(), new TaskCompletionSource());
        await using var app = await BroadcastApp.StartAsync(
            builder => builder.Services.AddSingleton<TimeProvider>(time),
            options: options => (options.KeepAliveInterval, options.KeepAliveTimeout) = (Second, Second),
            map: app => app.MapBroadcast("/ws").UseConnect(async (context, next) =>
            {
                await next(context);
                await started.Task;
            }));
        await using var client = await RawClient.ConnectAsync(app);
        await client.HandshakeAsync();
        await Eventually.True(() => app.Registry.Connections.SingleOrDefault() is Connection { WasOpened: true });

        await BeatAsync(app, time, 14);
        started.SetResult();
        await client.SendAsync(ClientFrame.CreateText("hello"));

        while (await client.ReadFrameAsync() is var frame && frame.Text != "hello") Assert.Equal(ClientFrame.Ping, frame.Opcode);
    }

    /// <summary>The server sends no ping after the close frame, so it must not wait for a pong either.</summary>
    [Fact]
    public async Task KeepAlive_DuringCloseHandshake_DoesNotShortenCloseTimeout()
    {
        var time = new FakeTimeProvider();
        await using var app = await BroadcastApp.StartAsync(builder => builder.Services.AddSingleton<TimeProvider>(time), options: options =>
        {
            (options.KeepAliveInterval, options.KeepAliveTimeout) = (Second, Second);
            options.CloseTimeout = TimeSpan.FromSeconds(10);
        });
        await using var client = await RawClient.OpenAsync(app);
        await app.Broadcaster.CloseAsync(app.Registry.Connections.Single().Id, cancellationToken: TestContext.Current.CancellationToken);
        Assert.Equal(1000, (await client.ReadFrameAsync()).CloseCode);

        await BeatAsync(app, time, 14);

        Assert.Equal(1, app.Registry.Count);
        await client.SendAsync(ClientFrame.CreateClose(1000));
        Assert.Equal(TransportEnd.Finished, await client.ReadEndAsync());
    }

    /// <summary>A closed connection receives the messages that were published before the close, and no later message.</summary>
    [Fact]
    public async Task CloseFromApp_WhileAppPublishes_SendsNoLaterMessage()
    {
        const int Before = 900, After = 500, Size = 1000;
        await using var app = await BroadcastApp.StartAsync(options: options => options.MaxBacklogBytes = 16 * 1024 * 1024);
        await using var client = await RawClient.OpenAsync(app, receiveBuffer: 4096);
        var token = TestContext.Current.CancellationToken;

        for (var i = 0; i < Before; i++) await app.Broadcaster.PublishAsync(Numbered.Make(i, Size), cancellationToken: token);
        await app.Broadcaster.CloseAsync(app.Registry.Connections.Single().Id, cancellationToken: token);
        for (var i = Before; i < Before + After; i++) await app.Broadcaster.PublishAsync(Numbered.Make(i, Size), cancellationToken: token);

        await Numbered.ReadAllAsync(client, Before);
        Assert.Equal(ClientFrame.Close, (await client.ReadFrameAsync()).Opcode);
    }

    /// <summary>
    /// Before the server sends the close frame, the log drops messages that the client has not received. The close
    /// frame must then not report a normal closure.
    /// </summary>
    [Fact]
    public async Task CloseFromApp_WithLostMessages_IsNotReportedAsNormalClosure()
    {
        const int Before = 900, After = 5_000, Size = 1000;
        await using var app = await BroadcastApp.StartAsync();
        await using var client = await RawClient.OpenAsync(app, receiveBuffer: 4096);
        var token = TestContext.Current.CancellationToken;

        for (var i = 0; i < Before; i++) await app.Broadcaster.PublishAsync(Numbered.Make(i, Size), cancellationToken: token);
        await app.Broadcaster.CloseAsync(app.Registry.Connections.Single().Id, cancellationToken: token);
        for (var i = Before; i < Before + After; i++) await app.Broadcaster.PublishAsync(Numbered.Make(i, Size), cancellationToken: token);

        var received = 0;
        ServerFrame frame;
        while ((frame = await client.ReadFrameAsync()).Opcode == ClientFrame.Binary) Assert.Equal(received++, Numbered.Read(frame.Payload));
        Assert.True(
            received >= Before || frame.CloseCode != (int)WebSocketCloseStatus.NormalClosure,
            $"{received} of {Before} messages arrived, and the close code is {frame.CloseCode}.");
    }

    /// <summary>A server can reach its own limit of upgraded connections under load, so this refusal is not an error of the app.</summary>
    [Fact]
    public async Task Handshake_OverServerUpgradeLimit_IsRefusedWithStatus503()
    {
        await using var app = await BroadcastApp.StartAsync(
            builder => builder.WebHost.ConfigureKestrel(kestrel => kestrel.Limits.MaxConcurrentUpgradedConnections = 1));
        await using var first = await RawClient.OpenAsync(app);
        await using var second = await RawClient.ConnectAsync(app);

        var answer = await second.HandshakeAsync();

        Assert.Equal(503, answer.Status);
        Assert.Equal(1, app.Registry.Count);
        LogAssert.NoErrors(app);
    }

    /// <summary>
    /// The disposal of a failed WebSocket makes ASP.NET Core abort the request with a TCP reset. The client could then
    /// lose the close frame, so the transport must end without a reset.
    /// </summary>
    [Fact]
    public async Task ProtocolError_ClientAnswersCloseFrame_EndsTransportWithoutReset()
    {
        await using var app = await BroadcastApp.StartAsync();
        await using var client = await RawClient.OpenAsync(app);

        await client.SendAsync(ClientFrame.Make(3, "bad"u8), ClientFrame.CreateClose(1002));

        Assert.Equal(1002, (await client.ReadCloseAsync()).CloseCode);
        Assert.Equal(TransportEnd.Finished, await client.ReadEndAsync());
        await Eventually.True(() => app.Registry.Count == 0);
    }

    /// <summary>
    /// Regression test of a race between marking the connection as closing and notifying its writer. Without the fix,
    /// the test fails in about one run of five on a busy machine.
    /// </summary>
    [Fact]
    public async Task SimultaneousClose_ByAppAndPeer_SendsOneCloseFrame()
    {
        await using var app = await BroadcastApp.StartAsync();

        for (var i = 0; i < 300; i++)
        {
            await using var client = await RawClient.OpenAsync(app);
            var id = app.Registry.Connections.Single().Id;

            var closing = Task.Run(() => app.Broadcaster.CloseAsync(id, (WebSocketCloseStatus)4000).AsTask(), TestContext.Current.CancellationToken);
            await client.SendAsync(ClientFrame.CreateClose(1000));

            var close = await client.ReadFrameAsync();
            Assert.Equal(ClientFrame.Close, close.Opcode);
            Assert.Contains(close.CloseCode, new int?[] { 1000, 4000 });
            Assert.Equal(TransportEnd.Finished, await client.ReadEndAsync());
            await closing;
            await Eventually.True(() => app.Registry.Count == 0);
        }

        LogAssert.NoErrors(app);
    }

    static async Task BeatAsync(BroadcastApp app, FakeTimeProvider time, int beats)
    {
        for (; beats > 0; beats--)
        {
            time.Advance(Second / 4);
            await app.SettleAsync();
        }
    }
}
