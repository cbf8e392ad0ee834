using Microsoft.AspNetCore.Builder;
using Microsoft.Extensions.DependencyInjection;
using Microsoft.Extensions.Logging;
using Microsoft.Extensions.Logging.Testing;

namespace Broadcast.Middleware.Tests.Connections;

/// <summary>
/// Tests exceptions from app code. Such an exception ends at most the connection of the failed call, and the server
/// logs the exception once.
/// </summary>
public sealed class FailureTests
{
    const string Boom = "boom";

    [Theory]
    [InlineData(true)]
    [InlineData(false)]
    public async Task ConnectFilter_Throws_ClosesOnlyThatConnection(bool beforeNext)
    {
        await using var app = await StartAsync(map: app => app.MapBroadcast("/ws").UseConnect(async (context, next) =>
        {
            if (!beforeNext) await next(context);
            if (context.Connection.UserId == "bad") throw new InvalidOperationException(Boom);
            if (beforeNext) await next(context);
        }));
        await EndsWith1011Async(app, _ => Task.CompletedTask);
    }

    [Theory]
    [InlineData(true)]
    [InlineData(false)]
    public async Task MessageFilter_Throws_ClosesOnlyThatConnection(bool atOnce)
    {
        await using var app = await StartAsync(map: app => app.MapBroadcast("/ws").Use(async (context, next) =>
        {
            if (!atOnce) await Task.Yield();
            if (context.Connection.UserId == "bad") throw new InvalidOperationException(Boom);
            await next(context);
        }));
        await EndsWith1011Async(app, client => client.SendAsync(ClientFrame.CreateText("one"), ClientFrame.CreateText("two"), ClientFrame.CreateText("three")));
    }

    [Fact]
    public async Task DisconnectFilter_Throws_IsLoggedOnce()
    {
        await using var app = await StartAsync(map: app => app.MapBroadcast("/ws").UseDisconnect((context, next) =>
            context.Connection.UserId == "bad" ? throw new InvalidOperationException(Boom) : next(context)));
        using var meters = new Meters(app);
        await using var good = await RawClient.OpenAsync(app, TestUsers.As("good"));
        await using var bad = await RawClient.OpenAsync(app, TestUsers.As("bad"));

        await bad.LeaveAsync();

        await Eventually.True(() => app.Registry.Count == 1);
        await AssertOneLineAsync(app);
        await good.AssertOpenAsync();
        Assert.Equal(1, meters.ByReason(Meters.Ended)["closed_by_peer"]);
    }

    [Fact]
    public async Task Registry_JoinThrows_ClosesOnlyThatConnection()
    {
        var registry = new FaultyRegistry
        {
            OnJoin = static (connection, _) => connection.UserId == "bad" ? throw new InvalidOperationException(Boom) : true,
        };
        await using var app = await StartAsync(registry);
        await EndsWith1011Async(app, _ => Task.CompletedTask);
    }

    [Fact]
    public async Task Registry_RemoveThrows_IsLoggedOnce()
    {
        var registry = new FaultyRegistry
        {
            OnRemove = static connection =>
            {
                if (connection.UserId == "bad") throw new InvalidOperationException(Boom);
            },
        };
        await using var app = await StartAsync(registry);
        using var meters = new Meters(app);
        await using var good = await RawClient.OpenAsync(app, TestUsers.As("good"));
        await using var bad = await RawClient.OpenAsync(app, TestUsers.As("bad"));

        await bad.LeaveAsync();

        await AssertOneLineAsync(app);
        await good.AssertOpenAsync();
        Assert.Equal(1, meters.Sum(Meters.Connections));
        Assert.Equal(1, meters.ByReason(Meters.Ended)["closed_by_peer"]);
    }

    [Fact]
    public async Task Registry_AddThrows_RefusesThatRequestWithStatus500()
    {
        var registry = new FaultyRegistry { OnAdd = static connection => connection.UserId == "bad" ? throw new InvalidOperationException(Boom) : true };
        await using var app = await StartAsync(registry);
        using var meters = new Meters(app);
        await using var good = await RawClient.OpenAsync(app, TestUsers.As("good"));

        var answer = await RawClient.TryAsync(app, TestUsers.As("bad"));

        Assert.Equal((500, null), (answer.Status, answer["Retry-After"]));
        Assert.DoesNotContain(Boom, answer.Body, StringComparison.Ordinal);
        await AssertOneLineAsync(app);
        Assert.Equal(new Dictionary<string, long> { ["failed"] = 1 }, meters.ByReason(Meters.Refused));
        await good.AssertOpenAsync();
        Assert.Equal((1, 1), (app.Registry.Count, meters.Sum(Meters.Connections)));
    }

    [Fact]
    public async Task Registry_AddThrowsAfterAdding_ListsNoRefusedConnection()
    {
        var registry = new FaultyRegistry();
        registry.OnAdd = connection =>
        {
            if (connection.UserId != "bad") return true;
            registry.Inner.TryAdd(connection);
            throw new InvalidOperationException(Boom);
        };
        await using var app = await StartAsync(registry);

        Assert.Equal(500, (await RawClient.TryAsync(app, TestUsers.As("bad"))).Status);

        Assert.Empty(registry.Connections);
        await AssertOneLineAsync(app);
    }

    [Fact]
    public async Task Registry_JoinThrowsAfterAdding_ListsNoMember()
    {
        var registry = new FaultyRegistry();
        registry.OnJoin = (connection, group) =>
        {
            if (group != "/b") return true;
            registry.Inner.TryJoin(connection, group);
            throw new InvalidOperationException(Boom);
        };
        await using var app = await StartAsync(registry);
        await using var client = await RawClient.OpenAsync(app);
        var id = app.Registry.Connections.Single().Id;

        await Assert.ThrowsAsync<InvalidOperationException>(async () => await app.Broadcaster.JoinAsync(id, "/b", TestContext.Current.CancellationToken));
        Assert.Equal(0, app.Registry.CountGroupMembers("/b"));

        registry.OnJoin = static (_, _) => true;
        Assert.True(await app.Broadcaster.JoinAsync(id, "/b", TestContext.Current.CancellationToken));
    }

    [Fact]
    public async Task Registry_LeaveThrows_RemovesMemberFromPresence()
    {
        var registry = new FaultyRegistry { OnLeave = static (_, _) => throw new InvalidOperationException(Boom) };
        await using var app = await StartAsync(registry, app =>
        {
            app.MapBroadcast("/ws").Use(static async (context, _) =>
            {
                if (context.Text == "join") await context.JoinAsync("/b");
                else await context.LeaveAsync("/b");
            });
            app.MapBroadcast("/b");
            app.MapBroadcastPresence("/presence", "/b");
        });
        await using var watcher = await RawClient.ConnectAsync(app);
        Assert.Equal(101, (await watcher.HandshakeAsync("/presence")).Status);
        var picture = new MemberPicture(watcher);
        await picture.BecomesAsync();
        await using var client = await RawClient.OpenAsync(app);
        var id = app.Registry.GetGroupMembers("/ws").Single().Id;
        await client.SendAsync(ClientFrame.CreateText("join"));
        await picture.BecomesAsync((id, null));

        await client.SendAsync(ClientFrame.CreateText("leave"));

        Assert.Equal(1011, await client.ClosedWithAsync());
        await picture.BecomesAsync();
        await AssertOneLineAsync(app);
    }

    static async Task EndsWith1011Async(BroadcastApp app, Func<RawClient, Task> provoke)
    {
        using var meters = new Meters(app);
        await using var good = await RawClient.OpenAsync(app, TestUsers.As("good"));
        await using var bad = await RawClient.ConnectAsync(app);
        Assert.Equal(101, (await bad.HandshakeAsync("/ws", TestUsers.As("bad"))).Status);

        await provoke(bad);

        Assert.Equal(1011, await bad.ClosedWithAsync());
        await Eventually.True(() => app.Registry.Count == 1);
        await AssertOneLineAsync(app);
        Assert.Equal(new Dictionary<string, long> { ["failed"] = 1 }, meters.ByReason(Meters.Ended));
        await good.SendAsync(ClientFrame.CreateText("still here"));
        Assert.Equal("still here", (await good.ReadFrameAsync()).Text);
    }

    static async Task AssertOneLineAsync(BroadcastApp app)
    {
        await Eventually.True(() => Errors().Any());
        Assert.Equal(Boom, Assert.Single(Errors()).Exception?.Message);

        IEnumerable<FakeLogRecord> Errors() => app.Logs.GetSnapshot().Where(record => record.Level >= LogLevel.Error);
    }

    static Task<BroadcastApp> StartAsync(FaultyRegistry? registry = null, Action<WebApplication>? map = null) => BroadcastApp.StartAsync(
        builder =>
        {
            TestUsers.Add(builder);
            if (registry is not null) builder.Services.AddSingleton<IConnectionRegistry>(registry);
        },
        map);
}
