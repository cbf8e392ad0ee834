using System.Diagnostics;
using System.Net.Sockets;
using System.Net.WebSockets;
using Microsoft.AspNetCore.Builder;
using Microsoft.Extensions.DependencyInjection;
using Microsoft.Extensions.Hosting;

namespace Broadcast.Middleware.Tests.Http;

public sealed class CloseTests
{
    // A time limit that is long enough for a busy machine, and shorter than each timeout that could end a connection by mistake.
    static readonly TimeSpan Promptly = TimeSpan.FromSeconds(20);

    [Theory]
    [InlineData(1000, "bye")]
    [InlineData(1001, "")]
    [InlineData(1011, "")]
    [InlineData(3000, "registered")]
    [InlineData(4999, "grüß dich")]
    public async Task ClientClose_WithCodeAndReason_IsEchoed(int code, string reason)
    {
        await using var app = await BroadcastApp.StartAsync();
        await using var client = await RawClient.OpenAsync(app);

        await client.SendAsync(ClientFrame.CreateClose(code, reason));

        var close = await client.ReadFrameAsync();
        Assert.Equal((ClientFrame.Close, code, reason), (close.Opcode, close.CloseCode, close.CloseReason));
        Assert.Equal(TransportEnd.Finished, await client.ReadEndAsync());
        await Eventually.True(() => app.Registry.Count == 0);
        LogAssert.NoErrors(app);
    }

    [Fact]
    public async Task ClientClose_WithoutCode_IsAnsweredWithCode1000()
    {
        await using var app = await BroadcastApp.StartAsync();
        await using var client = await RawClient.OpenAsync(app);

        await client.SendAsync(ClientFrame.Make(ClientFrame.Close, []));

        // The server answers a close frame without a code with code 1000. Code 1005 means "no code", and an endpoint
        // must not send code 1005 (RFC 6455, section 7.4.1).
        Assert.Equal(1000, (await client.ReadFrameAsync()).CloseCode);
        Assert.Equal(TransportEnd.Finished, await client.ReadEndAsync());
        await Eventually.True(() => app.Registry.Count == 0);
    }

    [Fact]
    public async Task ClientClose_InFragmentedMessage_IsAnswered()
    {
        await using var app = await BroadcastApp.StartAsync();
        await using var client = await RawClient.OpenAsync(app);

        await client.SendAsync(ClientFrame.Make(ClientFrame.Text, "never mind"u8, fin: false), ClientFrame.CreateClose(1000));

        Assert.Equal(1000, (await client.ReadFrameAsync()).CloseCode);
        Assert.Equal(TransportEnd.Finished, await client.ReadEndAsync());
    }

    [Fact]
    public async Task CloseFrame_WhileAppPublishes_IsLastFrame()
    {
        await using var app = await BroadcastApp.StartAsync();
        var client = await RawClient.OpenAsync(app);
        using var stop = new CancellationTokenSource();
        var publishing = PublishUntilAsync(app, stop.Token);

        for (var i = 0; i < 100; i++)
        {
            await client.SendAsync(ClientFrame.CreateClose(1000));
            await client.ReadCloseAsync();
            // Any byte after the close frame would appear as another frame here.
            await Assert.ThrowsAsync<TransportEndedException>(client.ReadFrameAsync);
            await client.DisposeAsync();
            client = await RawClient.ConnectAsync(app);
            await client.HandshakeAsync();
        }

        await stop.CancelAsync();
        await publishing;
        await client.DisposeAsync();
    }

    [Fact]
    public async Task CloseFromApp_AfterMessages_DeliversMessagesBeforeCloseFrame()
    {
        const int Messages = 2_000;
        await using var app = await BroadcastApp.StartAsync();
        await using var client = await RawClient.OpenAsync(app);
        var token = TestContext.Current.CancellationToken;

        for (var i = 0; i < Messages; i++) await app.Broadcaster.PublishAsync(Numbered.Make(i, 200), cancellationToken: token);
        Assert.True(await app.Broadcaster.CloseAsync(TheOnly(app).Id, (WebSocketCloseStatus)4001, "enough", token));

        await Numbered.ReadAllAsync(client, Messages);
        var close = await client.ReadFrameAsync();
        Assert.Equal((4001, "enough"), (close.CloseCode, close.CloseReason));
        await client.SendAsync(ClientFrame.CreateClose(4001));
        Assert.Equal(TransportEnd.Finished, await client.ReadEndAsync());
        await Eventually.True(() => app.Registry.Count == 0);
    }

    [Fact]
    public async Task CloseTimeout_WithoutAnswerFromPeer_EndsConnection()
    {
        var timeout = TimeSpan.FromMilliseconds(500);
        await using var app = await BroadcastApp.StartAsync(options: options => options.CloseTimeout = timeout);
        await using var client = await RawClient.OpenAsync(app);
        var started = Stopwatch.GetTimestamp();

        await app.Broadcaster.CloseAsync(TheOnly(app).Id, cancellationToken: TestContext.Current.CancellationToken);

        Assert.Equal(1000, (await client.ReadFrameAsync()).CloseCode);
        await client.ReadEndAsync();
        Assert.InRange(Stopwatch.GetElapsedTime(started), timeout * 0.9, timeout + Promptly);
        await Eventually.True(() => app.Registry.Count == 0);
    }

    [Fact]
    public async Task Message_ReceivedAfterClose_IsDropped()
    {
        await using var app = await BroadcastApp.StartAsync();
        await using var witness = await RawClient.OpenAsync(app);
        var witnessId = TheOnly(app).Id;
        await using var client = await RawClient.OpenAsync(app);
        await app.Broadcaster.CloseAsync(app.Registry.Connections.Single(connection => connection.Id != witnessId).Id,
            cancellationToken: TestContext.Current.CancellationToken);
        Assert.Equal(1000, (await client.ReadFrameAsync()).CloseCode);

        await client.SendAsync(ClientFrame.CreateText("too late"), ClientFrame.CreateClose(1000));

        Assert.Equal(TransportEnd.Finished, await client.ReadEndAsync());
        await app.Broadcaster.PublishAsync("next", cancellationToken: TestContext.Current.CancellationToken);
        Assert.Equal("next", (await witness.ReadFrameAsync()).Text);
    }

    [Fact]
    public async Task SimultaneousClose_ByFilterAndPeer_SendsOneCloseFrame()
    {
        await using var app = await BroadcastApp.StartAsync(map: app => app.MapBroadcast("/ws").Use((context, _) =>
        {
            context.Close((WebSocketCloseStatus)4000, "the filter");
            return Task.CompletedTask;
        }));

        for (var i = 0; i < 200; i++)
        {
            await using var client = await RawClient.OpenAsync(app);

            await client.SendAsync(ClientFrame.CreateText("close me"), ClientFrame.CreateClose(1000));

            var close = await client.ReadFrameAsync();
            Assert.Equal((4000, "the filter"), (close.CloseCode, close.CloseReason));
            Assert.Equal(TransportEnd.Finished, await client.ReadEndAsync());
            await Eventually.True(() => app.Registry.Count == 0);
        }

        LogAssert.NoErrors(app);
    }

    [Fact]
    public async Task Shutdown_PeersAnswerCloseFrame_CompletesBeforeCloseTimeout()
    {
        await using var app = await BroadcastApp.StartAsync(
            options: options => options.CloseTimeout = options.DrainTimeout = TimeSpan.FromSeconds(25));
        var clients = new List<RawClient>();
        for (var i = 0; i < 5; i++) clients.Add(await RawClient.OpenAsync(app));
        var started = Stopwatch.GetTimestamp();

        var stopping = app.StopAsync();
        foreach (var client in clients)
        {
            Assert.Equal(1001, (await client.ReadFrameAsync()).CloseCode);
            await client.SendAsync(ClientFrame.CreateClose(1001));
            Assert.Equal(TransportEnd.Finished, await client.ReadEndAsync());
        }

        await stopping;
        Assert.InRange(Stopwatch.GetElapsedTime(started), TimeSpan.Zero, Promptly);
        Assert.Equal(0, app.Registry.Count);
        await Assert.ThrowsAsync<SocketException>(() => RawClient.ConnectAsync(app));
        LogAssert.NoErrors(app);
    }

    [Fact]
    public async Task Shutdown_PeerDoesNotAnswer_CompletesBeforeDrainTimeout()
    {
        await using var app = await BroadcastApp.StartAsync(options: options => (options.CloseTimeout, options.DrainTimeout) = (TimeSpan.FromMilliseconds(500), TimeSpan.FromSeconds(25)));
        await using var client = await RawClient.OpenAsync(app);
        var started = Stopwatch.GetTimestamp();

        await app.StopAsync();

        Assert.InRange(Stopwatch.GetElapsedTime(started), TimeSpan.Zero, TimeSpan.FromMilliseconds(500) + Promptly);
        Assert.Equal(0, app.Registry.Count);
        Assert.Equal(1001, (await client.ReadFrameAsync()).CloseCode);
    }

    [Fact]
    public async Task Handshake_DuringShutdown_IsRefusedWithStatus503()
    {
        await using var app = await BroadcastApp.StartAsync();
        app.Services.GetRequiredService<IHostApplicationLifetime>().StopApplication();
        await using var client = await RawClient.ConnectAsync(app);

        var answer = await client.HandshakeAsync();

        Assert.Equal(503, answer.Status);
        Assert.Contains("shutting down", answer.Body, StringComparison.Ordinal);
        Assert.Equal(0, app.Registry.Count);
    }

    [Fact]
    public async Task ConnectFilter_RejectsConnection_ClosesWithCode1008()
    {
        await using var app = await BroadcastApp.StartAsync(map: app => app.MapBroadcast("/ws").UseConnect((_, _) => Task.CompletedTask));
        await using var client = await RawClient.ConnectAsync(app);

        Assert.Equal(101, (await client.HandshakeAsync()).Status);

        Assert.Equal(1008, (await client.ReadFrameAsync()).CloseCode);
        await client.SendAsync(ClientFrame.CreateClose(1008));
        Assert.Equal(TransportEnd.Finished, await client.ReadEndAsync());
        await Eventually.True(() => app.Registry.Count == 0);
    }

    static IBroadcastConnection TheOnly(BroadcastApp app) => Assert.Single(app.Registry.Connections);

    static async Task PublishUntilAsync(BroadcastApp app, CancellationToken stop)
    {
        while (!stop.IsCancellationRequested)
        {
            await app.Broadcaster.PublishAsync("on and on", cancellationToken: CancellationToken.None);
            await Task.Yield();
        }
    }
}
