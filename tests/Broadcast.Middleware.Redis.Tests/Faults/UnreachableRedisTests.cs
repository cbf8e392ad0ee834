using System.Diagnostics.Metrics;
using System.Globalization;
using System.Net;
using System.Net.WebSockets;
using System.Text;
using Broadcast.Middleware.Redis.Tests.Infrastructure;
using Microsoft.AspNetCore.Http;
using Microsoft.Extensions.DependencyInjection;
using Microsoft.Extensions.Diagnostics.Metrics.Testing;
using Microsoft.Extensions.Logging;
using Microsoft.Extensions.Logging.Testing;

namespace Broadcast.Middleware.Redis.Tests.Faults;

/// <summary>Tests the effects on clients and publishers of an app while Redis is down.</summary>
public sealed class UnreachableRedisTests : RedisTest
{
    readonly List<App> _apps = [];

    [Fact]
    public async Task Publish_WhenUnreachableIsLocal_ReachesOnlyClientsOfThisNode()
    {
        var proxy = CreateProxy();
        var (node, other) = (
            await StartAppAsync(proxy.Configuration, WhenUnreachable.Local), await StartAppAsync(Redis.Configuration));
        using var client = await node.ConnectAsync("/rooms/a?user=ann");
        using var otherClient = await other.ConnectAsync("/rooms/a?user=ann");
        var localOnly = new MetricCollector<long>(
            node.Services.GetRequiredService<IMeterFactory>(), "Broadcast", "broadcast.messages.local_only");
        var group = Recipients.Group("/rooms/a");
        var before = await node.Broadcaster.PublishAsync("before", group, cancellationToken: Token);
        Assert.Equal((1L, null, false), (before.Position?.Offset, before.RemoteNodes, before.IsLocalOnly));
        Assert.Equal("before", await ReceiveAsync(client));
        Assert.Equal("before", await ReceiveAsync(otherClient));

        proxy.Close();
        await node.WaitUntilReachableIsAsync(false);
        Recipients[] recipients =
        [
            group, Recipients.Everyone, Recipients.Groups("/rooms/a", "/rooms/b"), Recipients.User("ann"),
        ];
        foreach (var recipient in recipients)
        {
            var result = await node.Broadcaster.PublishAsync($"{recipient}", recipient, cancellationToken: Token);
            Assert.Equal(new PublishResult(null, 1) { RemoteNodes = 0, IsLocalOnly = true }, result);
            Assert.Equal($"{recipient}", await ReceiveAsync(client));
        }

        Assert.Equal(recipients.Length, localOnly.GetMeasurementSnapshot().Sum(measurement => measurement.Value));
        Assert.Single(node.GetWarnings("delivers messages only to its own connections"));
        proxy.Open();
        await node.WaitUntilReachableIsAsync(true);
        // On a busy machine, the node can lose its new connection again.
        PublishResult after = default;
        await TestNode.EventuallyAsync(
            async () => !(after = await node.Broadcaster.PublishAsync("after", group, cancellationToken: Token)).IsLocalOnly,
            "A publish reaches all nodes.");
        Assert.Equal(2L, after.Position?.Offset);
        Assert.Equal("after", await ReceiveAsync(client));
        Assert.Equal("after", await ReceiveAsync(otherClient));
        var missed = node.GetWarnings("reachable again").Sum(
            static warning => int.Parse(string.Concat(warning.Where(char.IsAsciiDigit)), CultureInfo.InvariantCulture));
        Assert.Equal(localOnly.GetMeasurementSnapshot().Sum(measurement => measurement.Value), missed);
    }

    [Fact]
    public async Task Connect_WhileRedisIsDown_IsRefusedInNewRoomAndAcceptedInKnownRoom()
    {
        var node = await StartAppAsync(Redis.Configuration);
        using var first = await node.ConnectAsync("/rooms/known");
        // The client joins the group of all connections at the end of its connect. Wait for this join before Redis
        // stops.
        await TestNode.EventuallyAsync(
            async () => (await node.Broadcaster.PublishAsync("hello", cancellationToken: Token)).LocalRecipients == 1,
            "The connection is in the group of all connections.");
        await Redis.KillAsync();
        await node.WaitUntilReachableIsAsync(false);
        using var refused = new ClientWebSocket();
        refused.Options.CollectHttpResponseDetails = true;
        await Assert.ThrowsAsync<WebSocketException>(() => refused.ConnectAsync(node.GetUri("ws", "/rooms/new"), Token));
        Assert.Equal(HttpStatusCode.ServiceUnavailable, refused.HttpStatusCode);
        Assert.Contains("Retry-After", refused.HttpResponseHeaders!.Keys);
        using var http = new HttpClient();
        http.DefaultRequestHeaders.Accept.Add(new("text/event-stream"));
        using var answer = await http.GetAsync(node.GetUri("http", "/rooms/new"), Token);
        // A browser does not reconnect after an HTTP error, so an event stream receives a close event instead.
        Assert.Contains("event: close\ndata: 1013 ", await answer.Content.ReadAsStringAsync(Token), StringComparison.Ordinal);
        // This connect completes only after the client has joined the group.
        using var second = await node.ConnectAsync("/rooms/known");

        await Redis.StartAsync();
        await node.WaitUntilReachableIsAsync(true);
        using var third = await node.ConnectAsync("/rooms/new");
    }

    [Fact]
    public async Task PublishToUser_MemberDirectoryEvicted_ReportsNoRecipient()
    {
        var (node, other) = (await StartAppAsync(Redis.Configuration), await StartAppAsync(Redis.Configuration));
        using var client = await other.ConnectAsync("/rooms/a?user=ann");
        var result = default(PublishResult);
        await TestNode.EventuallyAsync(
            async () =>
            {
                result = await node.Broadcaster.PublishAsync("hello", Recipients.User("ann"), cancellationToken: Token);
                return result.RemoteNodes == 1;
            },
            "The cluster lists the connection.");
        Assert.Equal((0, false), (result.LocalRecipients, result.IsLocalOnly));
        Assert.Equal("hello", await ReceiveAsync(client));
        // Simulate an eviction of the keys of the member directory.
        await using (var connection = await Redis.ConnectAsync())
        {
            await foreach (var key in connection.GetServers()[0].KeysAsync(pattern: "test::{g:\u0001user:ann*"))
                await connection.GetDatabase().KeyDeleteAsync(key);
        }

        result = await node.Broadcaster.PublishAsync("lost", Recipients.User("ann"), cancellationToken: Token);
        Assert.Equal(new PublishResult(null, 0) { RemoteNodes = 0 }, result);
    }

    public override async ValueTask DisposeAsync()
    {
        foreach (var app in _apps) await app.DisposeAsync();
        await base.DisposeAsync();
    }

    async Task<App> StartAppAsync(string redis, WhenUnreachable whenUnreachable = default)
    {
        var app = new App(redis, whenUnreachable);
        _apps.Add(app);
        await app.StartAsync();
        return app;
    }

    static async Task<string> ReceiveAsync(WebSocket client)
    {
        var buffer = new byte[1000];
        var received = await client.ReceiveAsync(buffer, Token).WaitAsync(TestNode.Patience, Token);
        return Encoding.UTF8.GetString(buffer, 0, received.Count);
    }

    sealed class UserFromQuery : IUserIdProvider
    {
        public string? GetUserId(HttpContext context) => context.Request.Query["user"];
    }

    sealed class App : IAsyncDisposable
    {
        readonly RedisApp _app;
        readonly FakeLogCollector _logs = new();

        public App(string redis, WhenUnreachable whenUnreachable)
        {
            _app = new RedisApp(
                redis,
                static options => options.DrainTimeout = TimeSpan.Zero,
                options => (options.WhenUnreachable, options.PublishTimeout) = (whenUnreachable, TimeSpan.FromSeconds(20)),
                builder =>
                {
                    builder.Logging.AddProvider(new FakeLoggerProvider(_logs));
                    builder.Services.AddSingleton<IUserIdProvider, UserFromQuery>();
                });
            _app.MapBroadcast("/rooms/{room}");
        }

        public IServiceProvider Services => _app.Services;

        public IBroadcaster Broadcaster => _app.Broadcaster;

        public Task StartAsync() => _app.StartAsync();

        public Uri GetUri(string scheme, string path) => _app.GetUri(scheme, path);

        public async Task<ClientWebSocket> ConnectAsync(string path)
        {
            var client = new ClientWebSocket();
            var group = path.Split('?')[0];
            var before = Broadcaster.Connections.CountGroupMembers(group);
            await client.ConnectAsync(GetUri("ws", path), Token);
            await TestNode.EventuallyAsync(
                () => new(Broadcaster.Connections.CountGroupMembers(group) == before + 1), "The connection has joined.");
            return client;
        }

        public Task WaitUntilReachableIsAsync(bool expected) => TestNode.EventuallyAsync(
            () => new(Services.GetRequiredService<IBackplane>().IsReachable == expected), $"Reachable is {expected}.");

        public string[] GetWarnings(string text) =>
        [
            .. _logs.GetSnapshot()
                .Where(record => record.Level >= LogLevel.Warning)
                .Select(record => record.Message)
                .Where(message => message.Contains(text, StringComparison.Ordinal)),
        ];

        public ValueTask DisposeAsync() => _app.DisposeAsync();
    }
}
