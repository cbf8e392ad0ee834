using System.Net.WebSockets;
using Microsoft.AspNetCore.Builder;
using Microsoft.AspNetCore.Server.Kestrel.Core;
using Microsoft.Extensions.DependencyInjection;
using Microsoft.Extensions.Hosting;

namespace Broadcast.Middleware.Tests.Connections;

/// <summary>
/// Tests how the reconnect sessions of disconnected clients end, and which connections end without a session.
/// </summary>
public sealed class DisconnectedSessionTests
{
    readonly RecoveryClock _clock = new();
    readonly List<(string Id, WebSocketCloseStatus? Status)> _disconnected = [];

    static CancellationToken Token => TestContext.Current.CancellationToken;

    [Fact]
    public async Task Reconnect_AfterRecoveryTimeout_IsRefused()
    {
        await using var app = await StartAsync();
        using var meters = new Meters(app);
        await using var client = await ReliableClient.OpenAsync(app);
        await app.PublishAsync("1");
        await client.ReceivesAsync("1");
        client.Disconnect();
        await _clock.WaitsAsync();

        _clock.Advance(RecoveryClock.Timeout - TimeSpan.FromSeconds(1));
        await PumpBarrier.PassAsync(client.ConnectionOf(app).Writer.Pump);
        Assert.Equal((1, 0), (app.Registry.Count, meters.Sum(Meters.Ended)));
        _clock.Advance(TimeSpan.FromSeconds(1));

        await EndedAsync(app, client, null);
        Assert.Equal(new Dictionary<string, long> { ["lost"] = 1 }, meters.ByReason(Meters.Ended));
        await client.IsRefusedAsync(app);
        Assert.Equal(new Dictionary<string, long> { ["recovery"] = 1 }, meters.ByReason(Meters.Refused));
        LogAssert.NoErrors(app);
    }

    [Fact]
    public async Task RecoveryTimeout_EachDisconnect_StartsAgain()
    {
        await using var app = await StartAsync();
        var client = await ReliableClient.OpenAsync(app);
        for (var i = 1; i <= 3; i++)
        {
            client.Disconnect();
            await _clock.WaitsAsync(i);
            _clock.Advance(RecoveryClock.Timeout - TimeSpan.FromSeconds(1));
            client = await client.ReconnectAsync(app);
        }

        await JsonClient.ReceivesNothingElseAsync(client.Transport);
        Assert.Empty(_disconnected);
        await client.DisposeAsync();
    }

    [Theory]
    [InlineData(HttpProtocols.Http1)]
    [InlineData(HttpProtocols.Http2)]
    public async Task Sessions_ManyExpire_LeaveNoConnectionOrGroup(HttpProtocols protocols)
    {
        // The server keeps at most 32 disconnected sessions of one HTTP/2 connection.
        const int Count = 32;
        await using var app = await StartAsync(protocols: protocols);
        using var http2 = new Http2Client(app);
        for (var i = 0; i < Count; i++)
        {
            var transport = protocols == HttpProtocols.Http2
                ? await http2.HandshakeAsync("/ws", ReliableClient.Subprotocol)
                : (await ReliableClient.OpenAsync(app)).Transport;
            if (protocols == HttpProtocols.Http2) await JsonClient.IdAsync(transport);
            await transport.DisposeAsync();
        }

        await _clock.WaitsAsync(Count);
        foreach (var connection in app.Registry.Connections) await app.Broadcaster.JoinAsync(connection.Id, "g" + connection.Id, Token);
        await app.PublishAsync([.. Enumerable.Range(0, 10).Select(_ => new string('x', 30_000))]);
        foreach (var connection in app.Registry.Connections) await app.PublishToAsync(Recipients.Connection(connection.Id), "for you");
        Assert.Equal((Count, Count + 2), (app.Registry.Count, app.Inside().Groups.Count));
        Assert.True(app.Kept() > 100_000);

        _clock.Expire();

        await app.IsEmptyAsync();
        await Eventually.True(() => _disconnected.Count == Count);
        LogAssert.NoErrors(app);
    }

    [Fact]
    public async Task Http2Connection_ManyStreamsReset_KeepsAtMost32SessionsAndStaysOpen()
    {
        await using var app = await StartAsync(protocols: HttpProtocols.Http2);
        using var http2 = new Http2Client(app);
        // Kestrel closes an HTTP/2 connection when the client has reset 200 streams whose requests still run on the
        // server.
        for (var i = 0; i < 300; i++)
        {
            var transport = await http2.HandshakeAsync("/ws", ReliableClient.Subprotocol);
            await JsonClient.IdAsync(transport);
            await transport.DisposeAsync();
        }

        await _clock.WaitsAsync(32);
        await Eventually.True(() => app.Registry.Count == 32);
        var last = await http2.HandshakeAsync("/ws", ReliableClient.Subprotocol);
        await JsonClient.IdAsync(last);
    }

    [Fact]
    public async Task Session_OverMaxDisconnectedSessions_EndsAtOnce()
    {
        await using var app = await StartAsync(options => options.MaxDisconnectedSessions = 1);
        await using var first = await ReliableClient.OpenAsync(app);
        await using var second = await ReliableClient.OpenAsync(app);
        first.Disconnect();
        await _clock.WaitsAsync();

        second.Disconnect();

        await EndedAsync(app, second, null, left: 1);
        await second.IsRefusedAsync(app);
        // A reconnected client no longer counts as disconnected, so another session can wait.
        await using var again = await first.ReconnectAsync(app);
        await using var third = await ReliableClient.OpenAsync(app);
        third.Disconnect();
        await _clock.WaitsAsync(2);
        await using var fourth = await third.ReconnectAsync(app);
        await JsonClient.ReceivesNothingElseAsync(fourth.Transport);
    }

    [Fact]
    public async Task Session_AppClosesConnection_Ends()
    {
        await using var app = await StartAsync();
        await using var client = await ReliableClient.OpenAsync(app);
        await app.PublishAsync("1");
        client.Disconnect();
        await _clock.WaitsAsync();

        Assert.True(await app.Broadcaster.CloseAsync(client.Id, (WebSocketCloseStatus)4001, "enough", Token));

        await EndedAsync(app, client, (WebSocketCloseStatus)4001);
        await client.IsRefusedAsync(app);
    }

    [Fact]
    public async Task Session_AuthenticationExpires_Ends()
    {
        await using var app = await StartAsync();
        await using var client = await ReliableClient.OpenAsync(
            app, headers: [TestUsers.As("ann"), TestUsers.Until(_clock.GetUtcNow() + TimeSpan.FromSeconds(10))]);
        client.Disconnect();
        await _clock.WaitsAsync();

        _clock.Advance(TimeSpan.FromSeconds(15));

        await EndedAsync(app, client, WebSocketCloseStatus.PolicyViolation);
        await client.IsRefusedAsync(app);
    }

    [Fact]
    public async Task Reconnect_FreshAuthentication_UsesNewExpiration()
    {
        await using var app = await StartAsync();
        await using var client = await ReliableClient.OpenAsync(
            app, headers: [TestUsers.As("ann"), TestUsers.Until(_clock.GetUtcNow() + TimeSpan.FromSeconds(10))]);
        client.Disconnect();
        await _clock.WaitsAsync();
        await using var again = await client.ReconnectAsync(await ReliableClient.AskAsync(
            app, client.Id, client.Token, headers: [TestUsers.As("ann"), TestUsers.Until(_clock.GetUtcNow() + TimeSpan.FromSeconds(60))]));

        _clock.Advance(TimeSpan.FromSeconds(30));
        await JsonClient.ReceivesNothingElseAsync(again.Transport);
        _clock.Advance(TimeSpan.FromSeconds(35));

        await JsonClient.EndsAsync(again.Transport, 1008);
        await EndedAsync(app, client, WebSocketCloseStatus.PolicyViolation);
    }

    [Fact]
    public async Task Session_OverMaxUnacknowledgedBytes_Ends()
    {
        await using var app = await StartAsync(options => options.MaxUnacknowledgedBytes = 100_000);
        await using var client = await ReliableClient.OpenAsync(app);
        client.Disconnect();
        await _clock.WaitsAsync();

        await app.PublishAsync([.. Enumerable.Range(0, 2).Select(_ => new string('x', 30_000))]);
        await PumpBarrier.PassAsync(client.ConnectionOf(app).Writer.Pump);
        Assert.Equal(1, app.Registry.Count);
        await app.PublishAsync([.. Enumerable.Range(0, 3).Select(_ => new string('x', 30_000))]);

        await EndedAsync(app, client, null);
        await client.IsRefusedAsync(app);
    }

    [Fact]
    public async Task Session_AppStops_EndsWithCode1001()
    {
        await using var app = await StartAsync(options => options.DrainTimeout = TimeSpan.FromSeconds(10));
        await using var client = await ReliableClient.OpenAsync(app);
        client.Disconnect();
        await _clock.WaitsAsync();

        await app.StopAsync();

        Assert.Equal(0, app.Registry.Count);
        Assert.Equal((client.Id, WebSocketCloseStatus.EndpointUnavailable), Assert.Single(_disconnected));
    }

    [Fact]
    public async Task Reconnect_DuringDrain_IsRefusedWithStatus503()
    {
        await using var app = await StartAsync();
        await using var client = await ReliableClient.OpenAsync(app);
        await using var early = await RawClient.ConnectAsync(app);
        app.Services.GetRequiredService<IHostApplicationLifetime>().StopApplication();

        var answer = await early.HandshakeAsync(
            $"/ws?awps_connection_id={client.Id}&awps_reconnection_token={client.Token}", JsonClient.Offers(ReliableClient.Subprotocol));
        client.Disconnect();

        Assert.Equal(503, answer.Status);
        await EndedAsync(app, client, WebSocketCloseStatus.EndpointUnavailable);
        Assert.Equal(0, _clock.Waits);
    }

    [Theory]
    [InlineData("a close frame with a code")]
    [InlineData("a close by the app")]
    [InlineData("a protocol error")]
    [InlineData("a message that is too long")]
    [InlineData("a filter that throws")]
    public async Task Reconnect_AfterCloseFrame_IsRefused(string closing)
    {
        await using var app = await StartAsync(map: endpoint => endpoint.Use((context, next) =>
            context.Text == "fail" ? throw new InvalidOperationException("boom") : next(context)));
        await using var client = await ReliableClient.OpenAsync(app);
        WebSocketCloseStatus? status;
        switch (closing)
        {
            case "a close frame with a code":
                await client.Transport.SendAsync(ClientFrame.CreateClose(1001));
                status = WebSocketCloseStatus.EndpointUnavailable;
                break;
            case "a close by the app":
                await app.Broadcaster.CloseAsync(client.Id, (WebSocketCloseStatus)4000, null, Token);
                status = (WebSocketCloseStatus)4000;
                break;
            case "a protocol error":
                await client.Transport.SendAsync(ClientFrame.Make(ClientFrame.Text, "unmasked"u8, mask: false));
                status = WebSocketCloseStatus.ProtocolError;
                break;
            case "a message that is too long":
                await client.Transport.SendAsync(ClientFrame.Make(ClientFrame.Text, new byte[70_000]));
                status = WebSocketCloseStatus.MessageTooBig;
                break;
            default:
                await client.SendTextAsync("""{"type":"sendToGroup","group":"/ws","dataType":"text","data":"fail"}""");
                status = WebSocketCloseStatus.InternalServerError;
                break;
        }

        await client.Transport.ReadCloseAsync();
        client.Disconnect();

        await EndedAsync(app, client, status);
        await client.IsRefusedAsync(app);
        Assert.Equal(0, _clock.Waits);
    }

    [Fact]
    public async Task Reconnect_AfterSlowConsumerClose_IsRefused()
    {
        await using var app = await StartAsync(
            options => (options.MaxMessageBytes, options.MaxBacklogBytes) = (16 * 1024, 64 * 1024), configure: Stall.SmallSendBuffers);
        await using var client = await ReliableClient.OpenAsync(app, receiveBuffer: Stall.SmallWindow);
        for (var i = 0; i < 100; i++) await app.PublishAsync(new string('x', 16_000));
        await Eventually.True(() => client.ConnectionOf(app).Writer.ClosingStatus is not null);

        client.Disconnect();

        await EndedAsync(app, client, CloseStatus.TryAgainLater);
        await client.IsRefusedAsync(app);
        Assert.Equal(0, _clock.Waits);
    }

    [Fact]
    public async Task Close_ByAppAndClientAtOnce_LeavesNoConnectionOrGroup()
    {
        await using var app = await StartAsync();
        for (var i = 0; i < 50; i++)
        {
            await using var client = await ReliableClient.OpenAsync(app);
            var closing = Task.Run(() => app.Broadcaster.CloseAsync(client.Id, cancellationToken: Token).AsTask(), Token);
            await client.Transport.SendAsync(ClientFrame.Make(ClientFrame.Close, []));
            await closing;
            await client.Transport.ReadEndAsync();
        }

        await app.IsEmptyAsync();
    }

    [Fact]
    public async Task CloseAsync_CloseFrameOfClientAlreadyAnswered_ClosesWriter()
    {
        await using var app = await StartAsync();
        await using var client = await ReliableClient.OpenAsync(app);
        var writer = client.ConnectionOf(app).Writer;
        var answer = new ControlFrame([0x88, 0]);
        writer.WriteControlFrame(answer);
        await answer.Sent.WaitAsync(Eventually.Patience, Token);
        Assert.True(writer.IsCloseFrameSent);

        await app.Broadcaster.CloseAsync(client.Id, cancellationToken: Token);

        await writer.Closed.WaitAsync(Eventually.Patience, Token);
    }

    [Fact]
    public async Task Disconnect_RefusedConnection_StartsNoSession()
    {
        var filter = new TaskCompletionSource();
        await using var app = await StartAsync(map: endpoint => endpoint.UseConnect(async (context, next) =>
        {
            await context.ReplyAsync("wait");
            await filter.Task;
        }));
        await using var transport = await ReliableClient.AskAsync(app, null, null);
        await JsonClient.ReadAsync(transport);
        transport.Reset();

        filter.SetResult();

        await app.IsEmptyAsync();
        Assert.Equal(0, _clock.Waits);
    }

    async Task EndedAsync(BroadcastApp app, ReliableClient client, WebSocketCloseStatus? status, int left = 0)
    {
        await Eventually.True(() => app.Registry.Count == left);
        await Eventually.True(() => app.Registry.CountGroupMembers("/ws") == left);
        if (left == 0) await app.IsEmptyAsync();
        await Eventually.True(() => _disconnected.Count > 0);
        Assert.Equal((client.Id, status), Assert.Single(_disconnected));
    }

    Task<BroadcastApp> StartAsync(
        Action<BroadcastOptions>? options = null,
        Action<BroadcastEndpointConventionBuilder>? map = null,
        Action<WebApplicationBuilder>? configure = null,
        HttpProtocols protocols = HttpProtocols.Http1) => BroadcastApp.StartReliableAsync(
        _clock,
        options,
        app =>
        {
            var endpoint = app.MapBroadcast("/ws").UseDisconnect((context, next) =>
            {
                lock (_disconnected) _disconnected.Add((context.Connection.Id, context.Status));
                return next(context);
            });
            map?.Invoke(endpoint);
        },
        configure,
        protocols);
}
