using System.Net.WebSockets;
using System.Security.Claims;
using System.Text;
using Broadcast.Middleware.Redis.Tests.Infrastructure;
using Microsoft.AspNetCore.Builder;
using Microsoft.AspNetCore.Http;
using Microsoft.AspNetCore.TestHost;
using Microsoft.Extensions.DependencyInjection;
using Microsoft.Extensions.Logging;

namespace Broadcast.Middleware.Redis.Tests.Members;

/// <summary>
/// Tests the list of users in a cluster of apps, and messages and refreshes of a user from another app.
/// </summary>
public sealed class UserPresenceTests(SharedRedis redis) : IAsyncDisposable
{
    const string Room = "/rooms/a";

    readonly string _prefix = $"users-{Guid.NewGuid():N}";
    readonly List<WebApplication> _apps = [];

    static CancellationToken Token => TestContext.Current.CancellationToken;

    [Fact]
    public async Task Users_OfTwoNodes_CountOncePerUser()
    {
        var (one, two) = (await StartAsync(), await StartAsync());
        using var ann = await ConnectAsync(one, "ann");
        using var annToo = await ConnectAsync(two, "ann");
        using var bob = await ConnectAsync(two, "bob");
        using var anonymous = await ConnectAsync(two, "");

        foreach (var node in (IPresence[])[Presence(one), Presence(two)])
        {
            await UntilUsersAreAsync(node, "ann", "bob");
            await UntilOnlineIsAsync(node, "ann", true);
            await UntilOnlineIsAsync(node, "bob", true);
            Assert.Equal(2, await node.CountUsersAsync(Room, Token));
            Assert.False(await node.IsUserOnlineAsync("cy", Token));
            Assert.False(await node.IsUserOnlineAsync("an", Token));
        }

        await CloseAsync(annToo);
        await CloseAsync(bob);
        await UntilUsersAreAsync(Presence(one), "ann");
        await UntilOnlineIsAsync(Presence(one), "bob", false);
        await UntilOnlineIsAsync(Presence(two), "bob", false);
        Assert.True(await Presence(two).IsUserOnlineAsync("ann", Token));
    }

    [Fact]
    public async Task Users_NodeCrashes_OnlyUsersOfThatNodeGoOffline()
    {
        var (one, two) = (await StartAsync(), await StartAsync());
        using var ann = await ConnectAsync(one, "ann");
        using var annToo = await ConnectAsync(two, "ann");
        using var bob = await ConnectAsync(two, "bob");
        await UntilUsersAreAsync(Presence(one), "ann", "bob");
        await UntilOnlineIsAsync(Presence(one), "bob", true);

        await ((RedisBackplane)two.Services.GetRequiredService<IBackplane>()).CrashAsync();

        await UntilOnlineIsAsync(Presence(one), "bob", false);
        await UntilUsersAreAsync(Presence(one), "ann");
        Assert.True(await Presence(one).IsUserOnlineAsync("ann", Token));
    }

    [Fact]
    public async Task Users_AllConnectionsClose_AreOffline()
    {
        const int Connections = 20;
        var (one, two) = (await StartAsync(), await StartAsync());
        var clients = await Task.WhenAll(
            Enumerable.Range(0, Connections).Select(i => ConnectAsync(i % 2 == 0 ? one : two, "ann")));
        foreach (var node in (WebApplication[])[one, two])
        {
            await TestNode.EventuallyAsync(
                async () => await Presence(node).CountAsync(Room, Token) == Connections, "All connections are members.");
            Assert.Equal(["ann"], await Presence(node).GetUsersAsync(Room, Token));
        }

        await Task.WhenAll(clients.Skip(1).Select(CloseAsync));
        await TestNode.EventuallyAsync(
            async () => await Presence(two).CountAsync(Room, Token) == 1, "One connection is a member.");
        Assert.True(await Presence(two).IsUserOnlineAsync("ann", Token));
        Assert.Equal(["ann"], await Presence(two).GetUsersAsync(Room, Token));

        await CloseAsync(clients[0]);
        await UntilOnlineIsAsync(Presence(two), "ann", false);
        await UntilUsersAreAsync(Presence(two));
        foreach (var client in clients) client.Dispose();
    }

    [Fact]
    public async Task Authentication_OfConnectionOnOtherNode_IsExtendedAndEnded()
    {
        var (one, two) = (await StartAsync(), await StartAsync());
        using var ann = await ConnectAsync(two, "ann");
        var broadcaster = one.Services.GetRequiredService<IBroadcaster>();
        var connection = two.Services.GetRequiredService<IConnectionRegistry>().GetUserConnections("ann").Single();
        await TestNode.EventuallyAsync(
            () => broadcaster.ExtendAuthenticationAsync(connection.Id, CreateUser("ann", "gold"), null, Token),
            "The first node finds the connection.");

        Assert.Equal("gold", connection.User.FindFirstValue("plan"));
        Assert.False(await broadcaster.ExtendAuthenticationAsync(connection.Id, CreateUser("bob", "free"), null, Token));
        Assert.Equal("gold", connection.User.FindFirstValue("plan"));

        Assert.True(await broadcaster.EndAuthenticationAsync(connection.Id, Token));
        var closed = await ann.ReceiveAsync(new byte[1], Token).WaitAsync(TestNode.Patience, Token);
        Assert.Equal(WebSocketCloseStatus.PolicyViolation, closed.CloseStatus);
    }

    [Fact]
    public async Task MessageWithId_RepeatedOnEachNode_ReachesEachRecipientOnce()
    {
        var (one, two) = (await StartAsync(), await StartAsync());
        using var ann = await ConnectAsync(two, "ann");
        var id = two.Services.GetRequiredService<IConnectionRegistry>().GetUserConnections("ann").Single().Id;
        var other = $"{Room}/other";
        Recipients[] all = [Recipients.Everyone, Recipients.Group(Room), Recipients.Groups(Room, other), Recipients.User("ann"), Recipients.Connection(id)];
        await TestNode.EventuallyAsync(
            async () => (await BroadcasterOf(two).PublishAsync("probe", Recipients.Everyone, cancellationToken: Token)).LocalRecipients == 1,
            "The connection has joined all its groups.");
        foreach (var recipients in all[3..])
        {
            await TestNode.EventuallyAsync(
                async () => (await BroadcasterOf(one).PublishAsync("probe", recipients, cancellationToken: Token)).RemoteNodes == 1,
                "The first node finds the connection.");
        }

        foreach (var recipients in all)
        {
            var first = await PublishAsync(one, recipients);
            Assert.False(first.IsDuplicate);
            Assert.Equal($"{recipients}", await ReceiveNextAsync());
            Assert.True((await PublishAsync(one, recipients)).IsDuplicate);
            Assert.True((await PublishAsync(two, recipients)).IsDuplicate);
        }

        await BroadcasterOf(one).PublishAsync("end", Recipients.Group(Room), cancellationToken: Token);
        Assert.Equal("end", await ReceiveNextAsync());

        async Task<string> ReceiveNextAsync()
        {
            while (true)
            {
                if (await ReceiveAsync(ann) is not "probe" and var text) return text;
            }
        }

        static IBroadcaster BroadcasterOf(WebApplication node) => node.Services.GetRequiredService<IBroadcaster>();

        static ValueTask<PublishResult> PublishAsync(WebApplication node, Recipients recipients) =>
            BroadcasterOf(node).PublishAsync(Message.FromText($"{recipients}") with { Id = $"{recipients}" }, recipients, Token);
    }

    [Fact]
    public async Task MessageWithId_DeviceMovesBeforeRepeatedPublish_ReachesUserOnce()
    {
        var (one, two) = (await StartAsync(), await StartAsync());
        var (three, four) = (await StartAsync(), await StartAsync());
        using (var device = await ConnectAsync(two, "ann"))
        {
            await UntilListedAsync(two);
            Assert.Equal(new PublishResult(null, 0) { RemoteNodes = 1 }, await PublishAsync(one, "once"));
            Assert.Equal("once", await ReceiveAsync(device));
            await CloseAsync(device);
        }

        using var moved = await ConnectAsync(three, "ann");
        await UntilListedAsync(three);
        foreach (var node in (WebApplication[])[four, three, two, one])
            Assert.Equal(new PublishResult(null, 0) { RemoteNodes = 0, IsDuplicate = true }, await PublishAsync(node, "again"));
        await four.Services.GetRequiredService<IBroadcaster>().PublishAsync("end", Recipients.User("ann"), cancellationToken: Token);
        Assert.Equal("end", await ReceiveAsync(moved));

        ValueTask<PublishResult> PublishAsync(WebApplication node, string text) => node.Services.GetRequiredService<IBroadcaster>()
            .PublishAsync(Message.FromText(text) with { Id = "id" }, Recipients.User("ann"), Token);

        // A node lists its own connection at once. The other nodes list the connection after a write to Redis.
        async Task UntilListedAsync(WebApplication node)
        {
            await TestNode.EventuallyAsync(
                () => new(node.Services.GetRequiredService<IConnectionRegistry>().GetUserConnections("ann").Any()), "The node has the connection.");
            var id = node.Services.GetRequiredService<IConnectionRegistry>().GetUserConnections("ann").Single().Id;
            await TestNode.EventuallyAsync(
                async () => (await one.Services.GetRequiredService<IBackplane>().GetMembersAsync("\u0001user:ann", Token))
                    .Select(static member => member.Name).SequenceEqual([id]),
                "The cluster lists only this connection.");
        }
    }

    public async ValueTask DisposeAsync()
    {
        foreach (var app in _apps) await app.DisposeAsync();
    }

    static IPresence Presence(WebApplication app) => app.Services.GetRequiredService<IPresence>();

    static ClaimsPrincipal CreateUser(string id, string plan) =>
        new(new ClaimsIdentity([new("sub", id), new("plan", plan)], "test"));

    static Task UntilUsersAreAsync(IPresence presence, params string[] users) => TestNode.EventuallyAsync(
        async () => (await presence.GetUsersAsync(Room, Token)).Order().SequenceEqual(users),
        $"The users are {string.Join(", ", users)}.");

    static Task UntilOnlineIsAsync(IPresence presence, string user, bool expected) => TestNode.EventuallyAsync(
        async () => await presence.IsUserOnlineAsync(user, Token) == expected, $"Online is {expected} for {user}.");

    static Task<WebSocket> ConnectAsync(WebApplication app, string user) =>
        app.GetTestServer().CreateWebSocketClient().ConnectAsync(new Uri($"ws://localhost{Room}?user={user}"), Token);

    static async Task<string> ReceiveAsync(WebSocket client)
    {
        var buffer = new byte[100];
        var received = await client.ReceiveAsync(buffer, Token).WaitAsync(TestNode.Patience, Token);
        return Encoding.UTF8.GetString(buffer, 0, received.Count);
    }

    static Task CloseAsync(WebSocket client) =>
        client.CloseAsync(WebSocketCloseStatus.NormalClosure, null, Token).WaitAsync(TestNode.Patience, Token);

    async Task<WebApplication> StartAsync()
    {
        var builder = WebApplication.CreateSlimBuilder();
        builder.WebHost.UseTestServer();
        builder.Logging.ClearProviders();
        builder.Services.AddSingleton<IUserIdProvider, UserFromClaimOrQuery>();
        var broadcast = builder.Services.AddBroadcast(static options => options.DrainTimeout = TimeSpan.Zero);
        broadcast.AddRedis(redis.Server.Configuration, options =>
        {
            options.Prefix = _prefix;
            options.NodeTimeout = TimeSpan.FromSeconds(15);
            options.CheckInterval = TimeSpan.FromMilliseconds(200);
            options.PublishTimeout = TimeSpan.FromSeconds(20);
        });
        var app = builder.Build();
        app.MapBroadcast("/rooms/{room}");
        _apps.Add(app);
        await app.StartAsync(Token);
        return app;
    }

    sealed class UserFromClaimOrQuery : IUserIdProvider
    {
        public string? GetUserId(HttpContext context)
        {
            var id = context.User.FindFirstValue("sub") ?? context.Request.Query["user"].ToString();
            return id.Length == 0 ? null : id;
        }
    }
}
