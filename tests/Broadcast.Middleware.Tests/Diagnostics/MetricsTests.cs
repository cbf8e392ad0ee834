using System.Net.WebSockets;
using Microsoft.AspNetCore.Builder;
using Microsoft.Extensions.DependencyInjection;
using Microsoft.Extensions.Hosting;
using Microsoft.Extensions.Time.Testing;

namespace Broadcast.Middleware.Tests.Diagnostics;

/// <summary>
/// Tests the counters and the latency of the meter. In a test of an end reason, a second connection usually stays open.
/// The meter must count the end reason exactly once.
/// </summary>
public sealed class MetricsTests
{
    static CancellationToken Token => TestContext.Current.CancellationToken;

    [Fact]
    public Task EndReason_PeerCloses_IsClosedByPeer() => EndsAsync("closed_by_peer", (_, client) => client.LeaveAsync());

    [Fact]
    public Task EndReason_AppCloses_IsClosedByApp() => EndsAsync("closed_by_app", async (app, client) =>
    {
        await app.Broadcaster.CloseAsync(IdOf(app, "it"), cancellationToken: Token);
        await client.ClosedWithAsync();
    });

    [Fact]
    public Task EndReason_FilterCloses_IsClosedByApp() => EndsAsync(
        "closed_by_app",
        (_, client) => SendAndCloseAsync(client, 4000),
        map: app => app.MapBroadcast("/ws").Use((context, _) =>
        {
            context.Close((WebSocketCloseStatus)4000);
            return Task.CompletedTask;
        }));

    [Fact]
    public Task EndReason_ConnectFilterRejects_IsClosedByApp() => EndsAsync(
        "closed_by_app",
        async (_, client) => Assert.Equal(1008, await client.ClosedWithAsync()),
        map: app => app.MapBroadcast("/ws").UseConnect((context, next) => context.Connection.UserId == "it" ? Task.CompletedTask : next(context)));

    [Fact]
    public Task EndReason_TransportReset_IsLost() => EndsAsync("lost", (_, client) =>
    {
        client.Reset();
        return Task.CompletedTask;
    });

    [Fact]
    public Task EndReason_UnmaskedFrame_IsProtocolError() => EndsAsync("protocol_error", async (_, client) =>
    {
        await client.SendAsync(ClientFrame.Make(ClientFrame.Text, "not masked"u8, mask: false));
        Assert.Equal(1002, await client.ClosedWithAsync());
    });

    [Fact]
    public Task EndReason_MessageTooLong_IsMessageTooBig() => EndsAsync(
        "message_too_big",
        async (_, client) =>
        {
            await client.SendAsync(ClientFrame.CreateText(new string('x', 101)));
            Assert.Equal(1009, await client.ClosedWithAsync());
        },
        options => options.MaxMessageBytes = 100);

    [Fact]
    public Task EndReason_TooManySmallFragments_IsMessageTooBig() => EndsAsync(
        "message_too_big",
        async (_, client) =>
        {
            for (var i = 0; i <= 5; i++) await client.SendAsync(ClientFrame.Make(i == 0 ? ClientFrame.Text : ClientFrame.Continuation, "x"u8, fin: false));
            Assert.Equal(1009, await client.ClosedWithAsync());
        },
        options => options.MaxSmallFragments = 5);

    [Fact]
    public Task EndReason_TooManyMessages_IsRateLimited() => EndsAsync(
        "rate_limited",
        async (_, client) =>
        {
            await client.SendAsync(ClientFrame.CreateText("one"), ClientFrame.CreateText("two"), ClientFrame.CreateText("three"));
            Assert.Equal(1008, await client.ClosedWithAsync());
        },
        options => options.MaxMessagesPerSecond = 1);

    [Fact]
    public async Task EndReason_NoFirstMessage_IsFirstMessageTimeout()
    {
        var time = new FakeTimeProvider();
        await EndsAsync(
            "first_message_timeout",
            async (_, client) =>
            {
                time.Advance(TimeSpan.FromSeconds(13));
                Assert.Equal(1008, await client.ClosedWithAsync());
            },
            options => (options.FirstMessageTimeout, options.KeepAliveInterval) = (TimeSpan.FromSeconds(10), Timeout.InfiniteTimeSpan),
            time: time,
            prepare: async other =>
            {
                await other.SendAsync(ClientFrame.CreateText("I speak"));
                await other.ReadFrameAsync();
            });
    }

    [Fact]
    public Task EndReason_ClientDoesNotRead_IsSlowConsumer() => EndsAsync("slow_consumer", async (app, client) =>
    {
        for (var i = 0; i < 200; i++) await app.Broadcaster.PublishAsync(new byte[32 * 1024], Recipients.Connection(IdOf(app, "it")), cancellationToken: Token);
        Assert.Equal(1013, await client.ClosedWithAsync());
    });

    [Fact]
    public async Task EndReason_NoPong_IsKeepAliveTimeout()
    {
        var time = new FakeTimeProvider();
        await EndsAsync(
            "keep_alive_timeout",
            async (app, client) =>
            {
                // The server measures the idle time only after the connection has started completely.
                var connection = (Connection)Assert.Single(app.Registry.GetUserConnections("it"));
                await Eventually.True(() => !connection.IsBusy);
                var (beats, isPinged) = (0, false);
                for (; !isPinged; beats++)
                {
                    await BeatAsync(app);
                    await app.Broadcaster.PublishAsync("beat", Recipients.Connection(connection.Id), cancellationToken: Token);
                    isPinged = (await client.ReadFrameAsync()).Opcode == ClientFrame.Ping;
                    if (isPinged) Assert.Equal("beat", (await client.ReadFrameAsync()).Text);
                }

                // The idle time starts at the first heartbeat, or at the second heartbeat if the server starts its read late.
                Assert.InRange(beats, 5, 6);
                // The client does not answer the ping. The server sends no second ping and disconnects the client after KeepAliveTimeout.
                for (var more = 0; more < 3; more++) await BeatAsync(app);
                Assert.NotEqual(EndReason.KeepAliveTimeout, connection.EndReason);
                await BeatAsync(app);
                await Assert.ThrowsAsync<TransportEndedException>(client.ReadFrameAsync);
            },
            options => (options.KeepAliveInterval, options.KeepAliveTimeout) = (TimeSpan.FromSeconds(10), TimeSpan.FromSeconds(10)),
            time: time,
            stays: false);

        async Task BeatAsync(BroadcastApp app)
        {
            time.Advance(TimeSpan.FromSeconds(2.5));
            // Wait between the heartbeats. If two heartbeats come before the connection processes the first one, they count as one.
            await app.SettleAsync();
        }
    }

    [Fact]
    public async Task EndReason_WriteStalls_IsSendTimeout()
    {
        var time = new FakeTimeProvider();
        await EndsAsync(
            "send_timeout",
            async (app, client) =>
            {
                using var meters = new Meters(app);
                await Stall.FillAsync(app, meters, IdOf(app, "it"));
                await Eventually.True(() =>
                {
                    time.Advance(TimeSpan.FromSeconds(1));
                    return meters.Sum(Meters.Ended) > 0;
                });
                Assert.Equal(TransportEnd.Reset, await client.ReadEndAsync());
            },
            options => options.KeepAliveInterval = Timeout.InfiniteTimeSpan,
            time: time);
    }

    [Fact]
    public Task EndReason_FilterThrows_IsFailed() => EndsAsync(
        "failed",
        (_, client) => SendAndCloseAsync(client, 1011),
        map: app => app.MapBroadcast("/ws").Use((_, _) => throw new InvalidOperationException("boom")));

    [Fact]
    public async Task EndReason_AuthenticationExpires_IsAuthenticationExpired()
    {
        var time = new FakeTimeProvider();
        await EndsAsync(
            "authentication_expired",
            async (_, client) =>
            {
                time.Advance(TimeSpan.FromMinutes(2));
                Assert.Equal(1008, await client.ClosedWithAsync());
            },
            options => options.KeepAliveInterval = Timeout.InfiniteTimeSpan,
            time: time,
            headers: TestUsers.Until(time.GetUtcNow() + TimeSpan.FromMinutes(1)));
    }

    [Fact]
    public Task EndReason_HostStops_IsShuttingDown() => EndsAsync(
        "shutting_down",
        async (app, client) =>
        {
            app.Services.GetRequiredService<IHostApplicationLifetime>().StopApplication();
            Assert.Equal(1001, await client.ClosedWithAsync());
        },
        stays: false);

    [Fact]
    public async Task RefusedHandshakes_EachReason_AreCountedByReason()
    {
        var registry = new FaultyRegistry();
        await using var app = await BroadcastApp.StartAsync(
            builder =>
            {
                TestUsers.Add(builder);
                builder.Services.AddSingleton<IConnectionRegistry>(registry);
            },
            options: options => (options.MaxConnections, options.MaxConnectionsPerUser, options.MaxConnectionsPerAddress) = (3, 1, 2));
        using var meters = new Meters(app);
        var expected = new Dictionary<string, long>();

        await RefusedAsync("bad_request", 426, ("Sec-WebSocket-Version", "12"));
        await RefusedAsync("origin", 403, ("Origin", "https://evil.example"));
        registry.OnAdd = static _ => false;
        await RefusedAsync("registry", 503);
        registry.OnAdd = static _ => throw new InvalidOperationException("boom");
        await RefusedAsync("failed", 500);
        registry.OnAdd = static _ => true;
        await using var ann = await RawClient.OpenAsync(app, TestUsers.As("ann"));
        await RefusedAsync("max_connections_per_user", 429, TestUsers.As("ann"));
        await using var two = await RawClient.OpenAsync(app);
        await RefusedAsync("max_connections_per_address", 429);
        await using var more = await BroadcastApp.StartAsync(options: options => options.MaxConnections = 1);
        using var moreMeters = new Meters(more);
        await using var full = await RawClient.OpenAsync(more);
        Assert.Equal(503, (await RawClient.TryAsync(more)).Status);
        Assert.Equal(new Dictionary<string, long> { ["max_connections"] = 1 }, moreMeters.ByReason(Meters.Refused));
        var backplane = new FaultyBackplane(new InMemoryCluster().CreateNode()) { IsReachable = false };
        await using var alone = await BroadcastApp.StartAsync(builder => builder.Services.AddBroadcast().AddBackplane(_ => backplane));
        using var aloneMeters = new Meters(alone);
        Assert.Equal(503, (await RawClient.TryAsync(alone)).Status);
        Assert.Equal(new Dictionary<string, long> { ["cluster_unreachable"] = 1 }, aloneMeters.ByReason(Meters.Refused));
        await using var returning = await RawClient.ConnectAsync(app);
        await returning.HandshakeAsync("/ws?awps_connection_id=none&awps_reconnection_token=none", JsonClient.Offers("json.reliable.webpubsub.azure.v1"));
        Assert.Equal(1008, (await returning.ReadCloseAsync()).CloseCode);
        expected["recovery"] = 1;
        await using var late = await RawClient.ConnectAsync(app);
        app.Services.GetRequiredService<IHostApplicationLifetime>().StopApplication();
        Assert.Equal(503, (await late.HandshakeAsync()).Status);
        expected["shutting_down"] = 1;

        Assert.Equal(expected, meters.ByReason(Meters.Refused));
        Assert.Equal(
            Enum.GetValues<RefusalReason>().Where(reason => reason != RefusalReason.None).Select(BroadcastMetrics.Tag).Order(),
            expected.Keys.Append("max_connections").Append("cluster_unreachable").Order());
        foreach (var client in new[] { ann, two }) await client.ClosedWithAsync();
        await Eventually.True(() => meters.Sum(Meters.Connections) == 0);

        async Task RefusedAsync(string reason, int status, params (string, string?)[] headers)
        {
            Assert.Equal(status, (await RawClient.TryAsync(app, headers)).Status);
            expected[reason] = 1;
            Assert.Equal(expected, meters.ByReason(Meters.Refused));
        }
    }

    [Fact]
    public async Task MessageMetrics_ClientsAndAppPublish_CountReceivedPublishedAndDelivered()
    {
        await using var app = await BroadcastApp.StartAsync();
        using var meters = new Meters(app);
        var clients = new List<RawClient>();
        for (var i = 0; i < 3; i++) clients.Add(await RawClient.OpenAsync(app));
        Assert.Equal(3, meters.Sum(Meters.Connections));

        for (var i = 0; i < 5; i++) await clients[0].SendAsync(ClientFrame.CreateText("from a client"));
        foreach (var client in clients)
        {
            for (var i = 0; i < 5; i++) await client.ReadFrameAsync();
        }

        for (var i = 0; i < 7; i++) await app.Broadcaster.PublishAsync("from the app", cancellationToken: Token);
        await app.Broadcaster.PublishAsync("to nobody", Recipients.Group("/nobody"), cancellationToken: Token);
        foreach (var client in clients)
        {
            for (var i = 0; i < 7; i++) await client.ReadFrameAsync();
            await client.AssertOpenAsync();
        }

        Assert.Equal(5, meters.Sum(Meters.Received));
        Assert.Equal(13, meters.Sum(Meters.Published));
        Assert.Equal(36, meters.Delivered);
        Assert.Equal(0, meters.Sum(Meters.Dropped));
        foreach (var client in clients) await client.LeaveAsync();
        await Eventually.True(() => meters.Sum(Meters.Connections) == 0);
        Assert.Equal(3, meters.Sum(Meters.Ended));
    }

    [Fact]
    public async Task PublishedMessages_AcknowledgementPongAndReply_AreNotCounted()
    {
        await using var app = await BroadcastApp.StartAsync(
            static builder => builder.Services.AddSingleton<IGroupAuthorizer>(Rules.AllowAll),
            static app => app.MapBroadcast("/ws").Use(static (context, next) =>
                context.Event is null ? next(context) : context.ReplyAsync("a reply").AsTask()));
        using var meters = new Meters(app);
        await using var client = await JsonClient.OpenAsync(app);

        await JsonClient.SendTextAsync(
            client,
            """{"type":"joinGroup","group":"g","ackId":1}""",
            """{"type":"ping"}""",
            """{"type":"event","event":"greet","data":"hi","ackId":2}""");
        await JsonClient.ReceivesAsync(
            client, JsonClient.Success(1), """{"type":"pong"}""", JsonClient.FromServer("text", "\"a reply\""), JsonClient.Success(2));
        Assert.Equal(0, meters.Sum(Meters.Published));

        await app.Broadcaster.PublishAsync("a message", Recipients.Group("g"), cancellationToken: Token);
        await JsonClient.ReceivesAsync(client, JsonClient.FromServer("text", "\"a message\""));
        Assert.Equal(1, meters.Sum(Meters.Published));
    }

    [Fact]
    public async Task Latency_WithAndWithoutListener_IsMeasuredOnlyWithListener()
    {
        var time = new FakeTimeProvider();
        await using var app = await BroadcastApp.StartAsync(
            builder => builder.Services.AddSingleton<TimeProvider>(time), options: options => options.KeepAliveInterval = Timeout.InfiniteTimeSpan);
        using var meters = new Meters(app);
        await using var client = await RawClient.OpenAsync(app);
        var clock = app.Services.GetRequiredKeyedService<BroadcastInstance>("").Clock;
        await PublishAsync();
        Assert.Equal(0, clock.Timestamp);

        using (var latency = meters.Latency())
        {
            for (var i = 0; i < 3; i++) await PublishAsync();
            await client.AssertOpenAsync();
            var measured = latency.GetMeasurementSnapshot();
            Assert.Equal(3, measured.Count);
            Assert.All(measured, measurement => Assert.Equal(0, measurement.Value));
            Assert.NotEqual(0, clock.Timestamp);
        }

        Assert.Equal(0, clock.Timestamp);

        async Task PublishAsync()
        {
            await app.Broadcaster.PublishAsync("hello", cancellationToken: Token);
            await client.ReadFrameAsync();
        }
    }

    [Fact]
    public async Task Latency_MessageWaitsForSlowClient_EqualsWaitingTime()
    {
        var time = new FakeTimeProvider();
        await using var app = await BroadcastApp.StartAsync(
            builder =>
            {
                Stall.SmallSendBuffers(builder);
                builder.Services.AddSingleton<TimeProvider>(time);
            },
            options: options => options.KeepAliveInterval = options.SendTimeout = Timeout.InfiniteTimeSpan);
        using var meters = new Meters(app);
        using var latency = meters.Latency();
        await using var client = await Stall.OpenAsync(app);
        var filled = await Stall.FillAsync(app, meters, Assert.Single(app.Registry.Connections).Id);
        await app.Broadcaster.PublishAsync("waits", cancellationToken: Token);

        time.Advance(TimeSpan.FromSeconds(3));
        for (var i = 0; i < filled; i++) await client.ReadFrameAsync();

        Assert.Equal("waits", (await client.ReadFrameAsync()).Text);
        Assert.Equal(3, latency.LastMeasurement!.Value);
    }

    [Fact]
    public async Task Meters_TwoBroadcasts_HaveTagWithBroadcastName()
    {
        var names = new List<object?>();
        using var listener = new System.Diagnostics.Metrics.MeterListener();
        await using var app = await BroadcastApp.StartAsync(
            builder => builder.Services.AddBroadcast("second"),
            map: app =>
            {
                app.MapBroadcast("/ws");
                app.MapBroadcast("/second", "second");
            });
        var factory = app.Services.GetRequiredService<System.Diagnostics.Metrics.IMeterFactory>();
        listener.InstrumentPublished = (instrument, _) =>
        {
            if (instrument is { Name: Meters.Connections } && ReferenceEquals(instrument.Meter.Scope, factory))
                names.Add(Assert.Single(instrument.Meter.Tags!, tag => tag.Key == "broadcast.name").Value);
        };
        listener.Start();

        Assert.Equal(new object?[] { "", "second" }, names.Order());
    }

    [Fact]
    public async Task MeterListener_CallbackThrows_ServerStillServesClients()
    {
        var ended = 0;
        await using var app = await BroadcastApp.StartAsync(
            map: app => app.MapBroadcast("/ws").UseDisconnect((context, next) =>
            {
                Interlocked.Increment(ref ended);
                return next(context);
            }),
            options: options => options.MaxConnections = 1);
        var factory = app.Services.GetRequiredService<System.Diagnostics.Metrics.IMeterFactory>();
        using var listener = new System.Diagnostics.Metrics.MeterListener();
        listener.InstrumentPublished = (instrument, listener) =>
        {
            if (ReferenceEquals(instrument.Meter.Scope, factory) && instrument.Meter.Name == BroadcastMetrics.MeterName) listener.EnableMeasurementEvents(instrument);
        };
        var calls = new System.Collections.Concurrent.ConcurrentDictionary<string, bool>();
        listener.SetMeasurementEventCallback<long>((instrument, _, _, _) => Throw(instrument));
        listener.SetMeasurementEventCallback<double>((instrument, _, _, _) => Throw(instrument));
        listener.Start();
        for (var i = 1; i <= 2; i++)
        {
            await using var reader = app.Broadcaster.ReadAsync("/ws", cancellationToken: Token).GetAsyncEnumerator(Token);
            var reading = reader.MoveNextAsync();
            await using var client = await RawClient.OpenAsync(app);
            Assert.Equal(503, (await RawClient.TryAsync(app)).Status);
            await client.SendAsync(ClientFrame.CreateText("hello"));
            Assert.Equal("hello", (await client.ReadFrameAsync()).Text);
            Assert.True(await reading);

            await client.LeaveAsync();

            await Eventually.True(() => app.Registry.Count == 0 && ended == i);
        }

        LogAssert.NoErrors(app);
        string[] expected = [Meters.Connections, Meters.Ended, Meters.LatencyName, Meters.Published, Meters.Received, Meters.Refused, "broadcast.readers"];
        Assert.Equal(expected.Order(), calls.Keys.Order());

        void Throw(System.Diagnostics.Metrics.Instrument instrument)
        {
            calls[instrument.Name] = true;
            throw new InvalidOperationException("boom");
        }
    }

    static string IdOf(BroadcastApp app, string user) => Assert.Single(app.Registry.GetUserConnections(user)).Id;

    static async Task SendAndCloseAsync(RawClient client, int code)
    {
        await client.SendAsync(ClientFrame.CreateText("hello"));
        Assert.Equal(code, await client.ClosedWithAsync());
    }

    static async Task EndsAsync(
        string reason,
        Func<BroadcastApp, RawClient, Task> provoke,
        Action<BroadcastOptions>? options = null,
        Action<WebApplication>? map = null,
        TimeProvider? time = null,
        Func<RawClient, Task>? prepare = null,
        bool stays = true,
        params (string, string?)[] headers)
    {
        await using var app = await BroadcastApp.StartAsync(
            builder =>
            {
                TestUsers.Add(builder);
                Stall.SmallSendBuffers(builder);
                if (time is not null) builder.Services.AddSingleton(time);
            },
            map,
            options);
        using var meters = new Meters(app);
        await using var other = stays ? await RawClient.OpenAsync(app, TestUsers.As("other")) : null;
        if (prepare is not null) await prepare(other!);
        await using var client = await RawClient.ConnectAsync(app, Stall.SmallWindow);
        Assert.Equal(101, (await client.HandshakeAsync("/ws", [TestUsers.As("it"), .. headers])).Status);

        await provoke(app, client);

        await Eventually.True(() => meters.Sum(Meters.Ended) > 0 && app.Registry.Count == (stays ? 1 : 0));
        Assert.Equal(new Dictionary<string, long> { [reason] = 1 }, meters.ByReason(Meters.Ended));
        Assert.Equal(stays ? 1 : 0, meters.Sum(Meters.Connections));
        if (other is null) return;
        await other.LeaveAsync();
        await Eventually.True(() => app.Registry.Count == 0);
        Assert.Equal(0, meters.Sum(Meters.Connections));
        Assert.Equal(2, meters.Sum(Meters.Ended));
    }
}
