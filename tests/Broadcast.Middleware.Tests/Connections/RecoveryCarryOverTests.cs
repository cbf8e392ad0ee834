using System.Net;
using System.Net.WebSockets;
using System.Security.Claims;
using Microsoft.AspNetCore.Builder;
using Microsoft.AspNetCore.Http;
using Microsoft.AspNetCore.HttpOverrides;
using Microsoft.Extensions.DependencyInjection;

namespace Broadcast.Middleware.Tests.Connections;

/// <summary>Tests that the limits and checks of a client continue after a reconnect.</summary>
public sealed class RecoveryCarryOverTests
{
    static readonly TimeSpan Minute = TimeSpan.FromMinutes(1);

    readonly RecoveryClock _clock = new();

    [Fact]
    public async Task Revalidator_ClientReconnectsMoreOftenThanInterval_IsStillCalled()
    {
        var revalidator = new Revalidator { Answer = static (_, _) => new(false) };
        await using var app = await StartAsync(revalidator);
        var client = await ReliableClient.OpenAsync(app);
        for (var reconnects = 1; reconnects <= 2; reconnects++)
        {
            _clock.Advance(TimeSpan.FromSeconds(25));
            client = await ReconnectAsync(app, client, reconnects);
        }

        Assert.Equal(0, revalidator.Asked);
        // After this step, the first connect was 65 seconds ago, and the last reconnect was 15 seconds ago.
        _clock.Advance(TimeSpan.FromSeconds(15));

        Assert.Equal(1008, await client.Transport.ClosedWithAsync());
        Assert.Equal(1, revalidator.Asked);
        await client.DisposeAsync();
    }

    [Fact]
    public async Task Revalidator_ClientReconnectsDuringCall_AnswerStillApplies()
    {
        var answer = new TaskCompletionSource<bool>();
        var revalidator = new Revalidator { Answer = (_, token) => new(answer.Task.WaitAsync(token)) };
        await using var app = await StartAsync(revalidator);
        await using var client = await ReliableClient.OpenAsync(app);
        _clock.Advance(Minute + TimeSpan.FromSeconds(5));
        await Eventually.True(() => revalidator.Asked == 1);

        await using var returned = await ReconnectAsync(app, client);
        answer.SetResult(false);

        Assert.Equal(1008, await returned.Transport.ClosedWithAsync());
        Assert.Equal(1, revalidator.Asked);
    }

    [Fact]
    public async Task Revalidator_DisconnectCancelsCall_IsCalledAgain()
    {
        var isFirst = true;
        var revalidator = new Revalidator
        {
            Answer = async (connection, _) =>
            {
                if (Interlocked.Exchange(ref isFirst, false)) await Task.Delay(Timeout.Infinite, connection.ConnectionAborted);
                return false;
            },
        };
        await using var app = await StartAsync(revalidator);
        await using var client = await ReliableClient.OpenAsync(app);
        var connection = client.ConnectionOf(app);
        _clock.Advance(Minute + TimeSpan.FromSeconds(5));
        await Eventually.True(() => revalidator.Asked == 1);
        await app.SettleAsync();
        client.Disconnect();
        await _clock.WaitsAsync();
        await Revalidator.CheckedAsync(connection);
        await using var returned = await client.ReconnectAsync(app);

        _clock.Advance(TimeSpan.FromSeconds(5));

        Assert.Equal(1008, await returned.Transport.ClosedWithAsync());
        Assert.Equal(2, revalidator.Asked);
        LogAssert.NoErrors(app);
    }

    [Fact]
    public async Task AuthenticationExpiration_NewRequestExpiresLater_UsesLaterTime()
    {
        await using var app = await StartAsync();
        var (soon, later) = (TestUsers.Until(_clock.GetUtcNow() + Minute), TestUsers.Until(_clock.GetUtcNow() + (2 * Minute)));
        await using var client = await ReliableClient.OpenAsync(app, headers: [TestUsers.As("ann"), soon]);
        client.Disconnect();
        await _clock.WaitsAsync();
        await using var transport = await ReliableClient.AskAsync(app, client.Id, client.Token, headers: [TestUsers.As("ann"), later]);
        await using var returned = await client.ReconnectAsync(transport);
        await returned.Transport.AssertOpenAsync();

        _clock.Advance(Minute + TimeSpan.FromSeconds(5));
        await returned.Transport.AssertOpenAsync();
        _clock.Advance(Minute);

        Assert.Equal(1008, await returned.Transport.ClosedWithAsync());
    }

    [Theory]
    [InlineData("ann", "ann")]
    [InlineData(null, "ann")]
    [InlineData(null, null)]
    public async Task UserOfConnectFilter_ClientReconnects_KeepsUserAndExpiration(string? requestUser, string? userId)
    {
        await using var app = await StartWithUserAsync(userId, _clock.GetUtcNow() + Minute);
        var headers = HeadersOf(requestUser, _clock.GetUtcNow() + (10 * Minute));
        await using var client = await ReliableClient.OpenAsync(app, headers: headers);
        var user = client.ConnectionOf(app).User;
        await using var returned = await ReconnectAsync(app, client);

        var connection = returned.ConnectionOf(app);
        Assert.Equal((userId, "silver"), (connection.UserId, connection.User.FindFirst("level")?.Value));
        Assert.Same(user, connection.User);
        Assert.Equal(userId is null ? 0 : 1, app.Registry.GetUserConnections("ann").Count());
        _clock.Advance(Minute - TimeSpan.FromSeconds(5));
        await returned.Transport.AssertOpenAsync();
        _clock.Advance(TimeSpan.FromSeconds(10));
        Assert.Equal(1008, await returned.Transport.ClosedWithAsync());
    }

    [Fact]
    public async Task UserOfConnectFilter_ExpiresWhileDisconnected_RefusesRecovery()
    {
        await using var app = await StartWithUserAsync("ann", _clock.GetUtcNow() + TimeSpan.FromSeconds(10));
        await using var client = await ReliableClient.OpenAsync(app);
        client.Disconnect();
        await _clock.WaitsAsync();

        _clock.Advance(TimeSpan.FromSeconds(15));
        await app.SettleAsync();

        await client.IsRefusedAsync(app);
    }

    [Fact]
    public async Task UserOfConnectFilter_OtherUserHasToken_RefusesRecovery()
    {
        await using var app = await StartWithUserAsync("ann", null);
        await using var client = await ReliableClient.OpenAsync(app);
        client.Disconnect();
        await _clock.WaitsAsync();

        await using var transport = await ReliableClient.AskAsync(app, client.Id, client.Token, headers: [TestUsers.As("bob")]);

        await ReliableClient.IsRefusedAsync(transport);
    }

    /// <summary>An anonymous request would remove the user and the expiration of the connection.</summary>
    [Fact]
    public async Task UserWithoutId_AnonymousRequestHasToken_RefusesRecovery()
    {
        await using var app = await BroadcastApp.StartReliableAsync(
            _clock, configure: builder => builder.Services.AddSingleton<IUserIdProvider>(new NoUserIds()));
        await using var client = await ReliableClient.OpenAsync(app, headers: [TestUsers.As("ann")]);
        client.Disconnect();
        await _clock.WaitsAsync();

        await using (var transport = await ReliableClient.AskAsync(app, client.Id, client.Token)) await ReliableClient.IsRefusedAsync(transport);

        await using var returned = await client.ReconnectAsync(app);
        Assert.True(returned.ConnectionOf(app).User.Identity!.IsAuthenticated);
    }

    [Fact]
    public async Task RateLimit_ClientReconnects_KeepsUsedBurst()
    {
        const int Burst = 30;
        const string Ping = """{"type":"ping"}""";
        await using var app = await BroadcastApp.StartReliableAsync(
            _clock, options => (options.MaxMessagesPerSecond, options.MaxMessageBurst) = (1, Burst));
        await using var client = await ReliableClient.OpenAsync(app);
        await client.SendTextAsync([.. Enumerable.Repeat(Ping, Burst)]);
        for (var i = 0; i < Burst; i++) Assert.Equal("""{"type":"pong"}""", await JsonClient.ReadAsync(client.Transport));
        await using var returned = await ReconnectAsync(app, client);

        await returned.SendTextAsync([.. Enumerable.Repeat(Ping, Burst)]);

        Assert.Equal(1008, (await returned.Transport.ReadCloseAsync()).CloseCode);
    }

    [Theory]
    [InlineData(nameof(BroadcastOptions.MaxConnections), 503)]
    [InlineData(nameof(BroadcastOptions.MaxConnectionsPerUser), 429)]
    [InlineData(nameof(BroadcastOptions.MaxConnectionsPerAddress), 429)]
    public async Task PendingRecovery_AtConnectionLimit_RefusesFurtherRecoveries(string limit, int status)
    {
        await using var app = await BroadcastApp.StartReliableAsync(
            _clock, options => typeof(BroadcastOptions).GetProperty(limit)!.SetValue(options, 1));
        using var meters = new Meters(app);
        var user = TestUsers.As("ann");
        await using var client = await ReliableClient.OpenAsync(app, headers: user);
        // The server refuses this request with a close frame and waits for the answer of the client.
        await using var pending = await ReliableClient.AskAsync(app, client.Id, "wrong", headers: user);
        Assert.Equal(1008, (await pending.ReadFrameAsync()).CloseCode);

        await using var next = await RawClient.ConnectAsync(app);
        var answer = await next.HandshakeAsync(
            $"/ws?awps_connection_id={client.Id}&awps_reconnection_token=wrong", JsonClient.Offers(ReliableClient.Subprotocol), user);

        Assert.Equal(status, answer.Status);
        Assert.NotNull(answer["Retry-After"]);
        Assert.Contains("max_connections", Assert.Single(meters.ByReason(Meters.Refused).Keys, reason => reason != "recovery"), StringComparison.Ordinal);
        await pending.SendAsync(ClientFrame.CreateClose(1008));
        await pending.ReadEndAsync();
        // At the limit, the client itself can still reconnect as often as it wants.
        await using var once = await ReconnectAsync(app, client);
        await using var twice = await ReconnectAsync(app, once, 2);
        await twice.Transport.AssertOpenAsync();
    }

    [Fact]
    public async Task MaxConnectionsPerAddress_ClientReconnectsFromOtherAddress_CountsForNewAddress()
    {
        const string Header = "X-Forwarded-For", Home = "203.0.113.1", Train = "203.0.113.2";
        await using var app = await BroadcastApp.StartReliableAsync(
            _clock,
            options => options.MaxConnectionsPerAddress = 1,
            app =>
            {
                app.UseForwardedHeaders();
                app.MapBroadcast("/ws");
            },
            builder => builder.Services.Configure<ForwardedHeadersOptions>(options =>
            {
                options.ForwardedHeaders = ForwardedHeaders.XForwardedFor;
                options.KnownProxies.Add(IPAddress.Loopback);
            }));
        await using var client = await ReliableClient.OpenAsync(app, headers: (Header, Home));
        client.Disconnect();
        await _clock.WaitsAsync();

        await using var transport = await ReliableClient.AskAsync(app, client.Id, client.Token, headers: (Header, Train));
        await using var returned = await client.ReconnectAsync(transport);
        await returned.Transport.AssertOpenAsync();

        Assert.Equal(429, (await RawClient.TryAsync(app, (Header, Train))).Status);
        await using var other = await RawClient.OpenAsync(app, (Header, Home));
        Assert.Equal(429, (await RawClient.TryAsync(app, (Header, Home))).Status);
        await returned.Transport.LeaveAsync();
        await Eventually.True(() => app.Registry.Count == 1);
        await using var next = await RawClient.OpenAsync(app, (Header, Train));
    }

    [Fact]
    public async Task CloseTimeout_EndsWhileClientIsDisconnected_StartsAgainOnReconnect()
    {
        using var broadcast = new TestEngine(configure: options => options.CloseTimeout = TimeSpan.FromSeconds(2));
        var connection = broadcast.Connect(broadcast.Pumps[0], "/g", new ManualSink(), protocol: ReliableReceiver.Protocol);
        broadcast.RunUntilIdle();
        connection.Detach();
        var suspended = connection.Writer.SuspendAsync();
        broadcast.RunUntilIdle();
        await suspended;
        var session = connection.Session!;
        var wait = session.WaitAsync();
        var token = await session.ClaimAsync(session.FirstToken);
        connection.Close(EndReason.ClosedByApp, WebSocketCloseStatus.NormalClosure, null);
        broadcast.Time.Advance(connection.Settings.CloseTimeout);

        var (request, sink) = (new FakeRequest(), new ManualSink());
        var resumed = connection.ReattachAsync(request, sink, token!);
        broadcast.RunUntilIdle();
        Assert.True(await resumed);
        Assert.True(await wait);
        Assert.Equal(WebSocketCloseStatus.NormalClosure, sink.Closed);
        Assert.False(request.IsAborted);
        broadcast.Time.Advance(connection.Settings.CloseTimeout);

        await Eventually.True(() => request.IsAborted);
        Assert.Equal(EndReason.ClosedByApp, connection.EndReason);
    }

    /// <summary>Starts an app whose connect filter sets the user of each connection.</summary>
    Task<BroadcastApp> StartWithUserAsync(string? userId, DateTimeOffset? expires) => BroadcastApp.StartReliableAsync(
        _clock,
        map: app => app.MapBroadcast("/ws").UseConnect((context, next) =>
        {
            var identity = new ClaimsIdentity([new("level", "silver")], "Filter");
            if (userId is not null) identity.AddClaim(new(ClaimTypes.NameIdentifier, userId));
            return context.TrySetUser(new(identity), expires) ? next(context) : Task.CompletedTask;
        }));

    static (string, string?)[] HeadersOf(string? user, DateTimeOffset expires) =>
        user is null ? [] : [TestUsers.As(user), TestUsers.Until(expires)];

    Task<BroadcastApp> StartAsync(Revalidator? revalidator = null) => BroadcastApp.StartReliableAsync(
        _clock,
        options =>
        {
            options.RevalidationInterval = Minute;
            // The server may close the connection before the clock advances. The clock must then not abort the connection.
            options.CloseTimeout = TimeSpan.FromHours(1);
        },
        configure: builder =>
        {
            if (revalidator is not null) builder.Services.AddSingleton<IConnectionRevalidator>(revalidator);
        });

    /// <summary>Disconnects the client and reconnects it after the server has noticed the disconnect.</summary>
    /// <param name="app">The app.</param>
    /// <param name="client">The client.</param>
    /// <param name="reconnects">The number of reconnects in the test so far, including this reconnect.</param>
    async Task<ReliableClient> ReconnectAsync(BroadcastApp app, ReliableClient client, int reconnects = 1)
    {
        client.Disconnect();
        await _clock.WaitsAsync(reconnects);
        var returned = await client.ReconnectAsync(app);
        // The server sends the first message before it has carried over all state.
        await returned.Transport.AssertOpenAsync();
        return returned;
    }

    sealed class NoUserIds : IUserIdProvider
    {
        public string? GetUserId(HttpContext context) => null;
    }
}
