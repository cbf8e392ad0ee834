using System.Net;
using Microsoft.AspNetCore.Builder;
using Microsoft.AspNetCore.HttpOverrides;
using Microsoft.Extensions.DependencyInjection;

namespace Broadcast.Middleware.Tests.Connections;

public sealed class MaxConnectionsTests
{
    [Fact]
    public async Task MaxConnections_Reached_RefusesWithStatus503UntilOneClientLeaves()
    {
        await using var app = await BroadcastApp.StartAsync(options: options => options.MaxConnections = 2);
        await using var one = await RawClient.OpenAsync(app);
        await using var two = await RawClient.OpenAsync(app);

        var answer = await RawClient.TryAsync(app);

        Assert.Equal(503, answer.Status);
        Assert.True(int.Parse(answer["Retry-After"]!, System.Globalization.CultureInfo.InvariantCulture) > 0);
        Assert.Null(answer["Sec-WebSocket-Accept"]);
        Assert.NotEmpty(answer.Body);
        Assert.Equal(2, app.Registry.Count);

        await one.LeaveAsync();
        await Eventually.True(() => app.Registry.Count == 1);
        await using var three = await RawClient.OpenAsync(app);
        Assert.Equal(503, (await RawClient.TryAsync(app)).Status);
        await two.AssertOpenAsync();
    }

    [Fact]
    public async Task MaxConnections_ClientDisconnects_AdmitsAnotherClient()
    {
        await using var app = await BroadcastApp.StartAsync(options: options => options.MaxConnections = 1);
        for (var i = 0; i < 20; i++)
        {
            var client = await RawClient.OpenAsync(app);
            Assert.Equal(503, (await RawClient.TryAsync(app)).Status);
            client.Reset();
            await Eventually.True(() => app.Registry.Count == 0);
        }
    }

    [Fact]
    public async Task MaxConnectionsPerUser_Reached_RefusesOnlyThatUserWithStatus429()
    {
        await using var app = await BroadcastApp.StartAsync(TestUsers.Add, options: options => options.MaxConnectionsPerUser = 2);
        await using var one = await RawClient.OpenAsync(app, TestUsers.As("ann"));
        await using var two = await RawClient.OpenAsync(app, TestUsers.As("ann"));

        var answer = await RawClient.TryAsync(app, TestUsers.As("ann"));

        Assert.Equal(429, answer.Status);
        Assert.NotNull(answer["Retry-After"]);
        Assert.Contains("MaxConnectionsPerUser", answer.Body, StringComparison.Ordinal);
        await using var bob = await RawClient.OpenAsync(app, TestUsers.As("bob"));
        for (var i = 0; i < 5; i++) Assert.Equal(101, (await RawClient.TryAsync(app)).Status);

        await one.LeaveAsync();
        await Eventually.True(() => !app.Registry.GetUserConnections("ann").Skip(1).Any());
        await using var three = await RawClient.OpenAsync(app, TestUsers.As("ann"));
    }

    [Fact]
    public async Task MaxConnectionsPerAddress_NoForwardedHeadersMiddleware_IgnoresForwardedAddress()
    {
        await using var app = await BroadcastApp.StartAsync(options: options => options.MaxConnectionsPerAddress = 1);
        await using var client = await RawClient.OpenAsync(app, ("X-Forwarded-For", "203.0.113.1"));

        var answer = await RawClient.TryAsync(app, ("X-Forwarded-For", "203.0.113.2"));

        Assert.Equal(429, answer.Status);
        Assert.NotNull(answer["Retry-After"]);
        Assert.Contains("MaxConnectionsPerAddress", answer.Body, StringComparison.Ordinal);
    }

    [Fact]
    public async Task MaxConnectionsPerAddress_KnownProxy_UsesForwardedAddress()
    {
        await using var app = await StartBehindAsync(IPAddress.Loopback);
        await using var client = await RawClient.OpenAsync(app, ("X-Forwarded-For", "203.0.113.1"));

        Assert.Equal(429, (await RawClient.TryAsync(app, ("X-Forwarded-For", "203.0.113.1"))).Status);
        // The proxy adds the last address. The client sent the addresses before the last one.
        Assert.Equal(429, (await RawClient.TryAsync(app, ("X-Forwarded-For", "203.0.113.7, 203.0.113.1"))).Status);
        Assert.Equal(429, (await RawClient.TryAsync(app, ("X-Forwarded-For", "::ffff:203.0.113.1"))).Status);
        await using var other = await RawClient.OpenAsync(app, ("X-Forwarded-For", "203.0.113.2"));
        await using var six = await RawClient.OpenAsync(app, ("X-Forwarded-For", "2001:db8::1"));
        Assert.Equal(429, (await RawClient.TryAsync(app, ("X-Forwarded-For", "2001:db8::2"))).Status);
        await using var network = await RawClient.OpenAsync(app, ("X-Forwarded-For", "2001:db8:0:1::1"));

        await client.LeaveAsync();
        await Eventually.True(() => app.Registry.Count == 3);
        await using var again = await RawClient.OpenAsync(app, ("X-Forwarded-For", "203.0.113.1"));
    }

    [Fact]
    public async Task MaxConnectionsPerAddress_UnknownProxy_IgnoresForwardedAddress()
    {
        await using var app = await StartBehindAsync(IPAddress.Parse("10.1.2.3"));
        await using var client = await RawClient.OpenAsync(app, ("X-Forwarded-For", "203.0.113.1"));

        Assert.Equal(429, (await RawClient.TryAsync(app, ("X-Forwarded-For", "203.0.113.2"))).Status);
    }

    [Fact]
    public async Task MaxConnections_ConcurrentClients_CountsStayExact()
    {
        const int Workers = 24, Rounds = 15, Max = 16, MaxOfUser = 6;
        await using var app = await BroadcastApp.StartAsync(
            TestUsers.Add,
            options: options => (options.MaxConnections, options.MaxConnectionsPerUser, options.MaxConnectionsPerAddress) = (Max, MaxOfUser, Max));
        int opened = 0, full = 0, tooMany = 0, held = 0, maxHeld = 0;
        var gate = new Lock();

        await Task.WhenAll(Enumerable.Range(0, Workers).Select(ChurnAsync));

        Assert.Equal(Workers * Rounds, opened + full + tooMany);
        Assert.True(opened > Rounds, $"Too few clients were admitted: {opened}.");
        Assert.True(full + tooMany > 0, "No limit was ever reached.");
        Assert.InRange(maxHeld, 1, Max);
        await Eventually.True(() => app.Registry.Count == 0);

        // The limits again admit the maximum number of connections, for each user and in total.
        var clients = new List<RawClient>();
        foreach (var user in new[] { "user0", "user1" })
        {
            for (var i = 0; i < MaxOfUser; i++) clients.Add(await RawClient.OpenAsync(app, TestUsers.As(user)));
            Assert.Equal(429, (await RawClient.TryAsync(app, TestUsers.As(user))).Status);
        }

        while (clients.Count < Max) clients.Add(await RawClient.OpenAsync(app));
        Assert.Equal(503, (await RawClient.TryAsync(app)).Status);
        foreach (var client in clients) await client.DisposeAsync();

        async Task ChurnAsync(int worker)
        {
            for (var round = 0; round < Rounds; round++)
            {
                await using var client = await RawClient.ConnectAsync(app);
                switch ((await client.HandshakeAsync("/ws", TestUsers.As($"user{worker % 3}"))).Status)
                {
                    case 503:
                        Interlocked.Increment(ref full);
                        continue;
                    case 429:
                        Interlocked.Increment(ref tooMany);
                        continue;
                }

                Interlocked.Increment(ref opened);
                lock (gate) maxHeld = Math.Max(maxHeld, ++held);
                if (round % 3 == 0) await client.JoinedAsync();
                lock (gate) held--;
                if (round % 2 == 0) client.Reset();
                else await client.LeaveAsync();
            }
        }
    }

    [Fact]
    public async Task Registry_RefusesOrThrows_ConnectionDoesNotCountForLimits()
    {
        var registry = new FaultyRegistry();
        await using var app = await BroadcastApp.StartAsync(
            builder =>
            {
                TestUsers.Add(builder);
                builder.Services.AddSingleton<IConnectionRegistry>(registry);
            },
            options: options => (options.MaxConnections, options.MaxConnectionsPerUser, options.MaxConnectionsPerAddress) = (1, 1, 1));

        registry.OnAdd = _ => throw new InvalidOperationException("The registry is broken.");
        for (var i = 0; i < 3; i++) Assert.Equal(500, (await RawClient.TryAsync(app, TestUsers.As("ann"))).Status);
        registry.OnAdd = _ => false;
        for (var i = 0; i < 3; i++) Assert.Equal(503, (await RawClient.TryAsync(app, TestUsers.As("ann"))).Status);
        registry.OnAdd = _ => true;
        registry.OnRemove = _ => throw new InvalidOperationException("The registry is broken.");

        for (var i = 0; i < 3; i++)
        {
            await using var client = await RawClient.OpenAsync(app, TestUsers.As("ann"));
            await client.LeaveAsync();
            await Eventually.True(() => app.Registry.Count == 0);
        }
    }

    static Task<BroadcastApp> StartBehindAsync(IPAddress proxy) => BroadcastApp.StartAsync(
        map: app =>
        {
            var options = new ForwardedHeadersOptions { ForwardedHeaders = ForwardedHeaders.XForwardedFor };
            options.KnownIPNetworks.Clear();
            options.KnownProxies.Clear();
            options.KnownProxies.Add(proxy);
            app.UseForwardedHeaders(options);
            app.MapBroadcast("/ws");
        },
        options: options => options.MaxConnectionsPerAddress = 1);
}
