using Microsoft.Extensions.DependencyInjection;

namespace Broadcast.Middleware.Tests.Connections;

/// <summary>Tests that a client gains nothing by reconnecting: its limits and checks continue.</summary>
public sealed class RecoveryCarryOverTests
{
    readonly RecoveryClock _clock = new();

    [Fact]
    public async Task Revalidator_ClientReconnectsMoreOftenThanInterval_IsStillCalled()
    {
        var revalidator = new Revalidator();
        await using var app = await ReliableApp.StartAsync(
            _clock,
            options => options.RevalidationInterval = TimeSpan.FromMinutes(1),
            configure: builder => builder.Services.AddSingleton<IConnectionRevalidator>(revalidator));
        var client = await ReliableClient.OpenAsync(app);

        for (var reconnects = 1; reconnects <= 3; reconnects++)
        {
            _clock.Advance(TimeSpan.FromSeconds(25));
            client.Disconnect();
            await _clock.WaitsAsync(reconnects);
            client = await client.ReconnectAsync(app);
        }

        // The last reconnect was 75 s after the start. A heartbeat notices that the call is due.
        await Eventually.True(() =>
        {
            _clock.Advance(TimeSpan.FromSeconds(1));
            return revalidator.Asked > 0;
        });
        Assert.InRange(_clock.GetUtcNow() - _clock.Start, TimeSpan.Zero, TimeSpan.FromSeconds(75 + 59));
        await client.DisposeAsync();
    }

    [Fact]
    public async Task RateLimit_ClientReconnects_KeepsUsedBurst()
    {
        const int Burst = 20;
        await using var app = await ReliableApp.StartAsync(
            _clock, options => (options.MaxMessagesPerSecond, options.MaxMessageBurst) = (1, Burst));
        await using var client = await ReliableClient.OpenAsync(app);
        await client.SayAsync([.. Enumerable.Repeat("""{"type":"ping"}""", Burst - 2)]);
        for (var i = 0; i < Burst - 2; i++) await JsonClient.ReadAsync(client.Transport);
        client.Disconnect();
        await _clock.WaitsAsync();
        await using var again = await client.ReconnectAsync(app);

        await again.SayAsync([.. Enumerable.Repeat("""{"type":"ping"}""", Burst)]);

        Assert.Equal(1008, (await again.Transport.ReadCloseAsync()).CloseCode);
    }

    [Fact]
    public async Task PendingRecovery_AtConnectionLimit_RefusesFurtherRecoveriesWith503()
    {
        await using var app = await ReliableApp.StartAsync(_clock, options => options.MaxConnections = 1);
        await using var client = await ReliableClient.OpenAsync(app);
        // The server refuses this request with a close frame and waits for the answer of the client.
        var pending = await ReliableClient.AskAsync(app, client.Id, "wrong");
        Assert.Equal(1008, (await pending.ReadFrameAsync()).CloseCode);

        Assert.Equal(503, await TryRecoverAsync());

        await pending.SendAsync(ClientFrame.OfClose(1008));
        await pending.ReadEndAsync();
        await pending.DisposeAsync();
        // At the limit, the client itself can still reconnect, any number of times.
        client.Disconnect();
        await _clock.WaitsAsync();
        await using var again = await client.ReconnectAsync(app);
        again.Disconnect();
        await _clock.WaitsAsync(2);
        await using var last = await again.ReconnectAsync(app);

        async Task<int> TryRecoverAsync()
        {
            await using var transport = await RawClient.ConnectAsync(app);
            var answer = await transport.HandshakeAsync(
                $"/ws?awps_connection_id={client.Id}&awps_reconnection_token=wrong", JsonClient.Offers(ReliableClient.Subprotocol));
            return answer.Status;
        }
    }

    [Fact]
    public async Task CloseTimeout_EndsWhileClientIsDisconnected_StartsAgainOnReconnect()
    {
        using var broadcast = new ManualBroadcast(configure: options => options.RecoveryTimeout = RecoveryClock.Timeout);
        var connection = broadcast.Broadcaster.Admit(new FakeRequest(), "/g", null, broadcast.Pumps[0].Pump, ReliableReceiver.Protocol);
        connection.OnOpened();
        connection.Open(new ManualSink());
        broadcast.RunUntilIdle();
        connection.Detach();
        var suspended = connection.Writer.SuspendAsync();
        broadcast.RunUntilIdle();
        await suspended;
        var wait = connection.Session!.WaitAsync();
        var token = await connection.Session.ClaimAsync(connection.Session.FirstToken);
        connection.Close(EndReason.ClosedByApp, System.Net.WebSockets.WebSocketCloseStatus.NormalClosure, null);
        broadcast.Time.Advance(connection.Settings.CloseTimeout);

        var request = new FakeRequest();
        var resumed = connection.ReattachAsync(request, new ManualSink(), token!);
        broadcast.RunUntilIdle();
        Assert.True(await resumed);
        Assert.True(await wait);
        Assert.False(request.IsAborted);

        broadcast.Time.Advance(connection.Settings.CloseTimeout);
        await Eventually.True(() => request.IsAborted);
    }
}
