using Broadcast.Middleware.Tests.Clustering;
using Microsoft.Extensions.DependencyInjection;

namespace Broadcast.Middleware.Tests.Presence;

/// <summary>Tests which users are online, and the distinct users of a group, on one node and on several nodes.</summary>
public sealed class UserPresenceTests
{
    const string Group = "/home";

    readonly InMemoryCluster _cluster = new();

    static CancellationToken Token => TestContext.Current.CancellationToken;

    [Fact]
    public async Task Users_OneNode_CountOncePerUser()
    {
        using var node = new TestEngine();
        var (first, second) = (Connect(node, "ann"), Connect(node, "ann"));
        Connect(node, "bob");
        Connect(node, null);

        Assert.Equal(["ann", "bob"], (await node.Presence.GetUsersAsync(Group, Token)).Order());
        Assert.Equal(2, await node.Presence.CountUsersAsync(Group, Token));
        Assert.Equal(4, await node.Presence.CountAsync(Group, Token));
        node.Remove(first);
        Assert.Equal(2, await node.Presence.CountUsersAsync(Group, Token));
        Assert.True(await node.Presence.IsUserOnlineAsync("ann", Token));
        node.Remove(second);
        Assert.Equal(["bob"], await node.Presence.GetUsersAsync(Group, Token));
        Assert.False(await node.Presence.IsUserOnlineAsync("ann", Token));
        Assert.Empty(await node.Presence.GetUsersAsync("nowhere", Token));
    }

    [Fact]
    public async Task Users_SeveralNodes_CountOncePerUser()
    {
        using var one = new TestEngine(backplane: _cluster.CreateNode());
        using var two = new TestEngine(backplane: _cluster.CreateNode());
        var ann = await Listener.ConnectAsync(one, Group, "ann");
        var annToo = await Listener.ConnectAsync(two, Group, "ann");
        var bob = await Listener.ConnectAsync(two, Group, "bob");

        foreach (var node in (TestEngine[])[one, two])
        {
            await Eventually.True(() => IsOnline(node, "ann") && IsOnline(node, "bob"));
            Assert.Equal(["ann", "bob"], (await node.Presence.GetUsersAsync(Group, Token)).Order());
            Assert.Equal(2, await node.Presence.CountUsersAsync(Group, Token));
            Assert.False(await node.Presence.IsUserOnlineAsync("cy", Token));
        }

        ann.Disconnect();
        Assert.True(await one.Presence.IsUserOnlineAsync("ann", Token));
        Assert.Equal(2, await one.Presence.CountUsersAsync(Group, Token));
        annToo.Disconnect();
        foreach (var node in (TestEngine[])[one, two])
        {
            Assert.False(await node.Presence.IsUserOnlineAsync("ann", Token));
            Assert.Equal(["bob"], await node.Presence.GetUsersAsync(Group, Token));
        }

        bob.Connection.Leave(Group);
        Assert.Equal(0, await one.Presence.CountUsersAsync(Group, Token));
        // The user has left the group, but is still connected.
        Assert.True(await one.Presence.IsUserOnlineAsync("bob", Token));
    }

    [Fact]
    public async Task Users_NodeIsLost_AreNoLongerOnline()
    {
        using var one = new TestEngine(backplane: _cluster.CreateNode());
        var lost = _cluster.CreateNode();
        using var two = new TestEngine(backplane: lost);
        await Listener.ConnectAsync(one, Group, "ann");
        await Listener.ConnectAsync(two, Group, "ann");
        await Listener.ConnectAsync(two, Group, "bob");
        await Eventually.True(() => IsOnline(one, "bob"));

        // The cluster removes the members of a dead node.
        ((IDisposable)lost).Dispose();

        Assert.False(await one.Presence.IsUserOnlineAsync("bob", Token));
        Assert.True(await one.Presence.IsUserOnlineAsync("ann", Token));
        Assert.Equal(["ann"], await one.Presence.GetUsersAsync(Group, Token));
    }

    [Fact]
    public async Task Users_ClientReconnectsOnOtherNode_CountOnce()
    {
        var clock = new RecoveryClock();
        await using var one = await StartAsync(clock);
        await using var two = await StartAsync(clock);
        await using var ann = await ReliableClient.OpenAsync(one, headers: [TestUsers.As("ann")]);
        ann.Disconnect();
        // The old connection waits for a recovery, so it is still a member.
        await using var again = await ReliableClient.OpenAsync(two, headers: [TestUsers.As("ann")]);
        var presence = two.Services.GetRequiredService<IPresence>();
        await Eventually.True(() => IsOnline(one.Services.GetRequiredService<IPresence>(), "ann"));

        Assert.Equal(2, await presence.CountAsync("/ws", Token));
        Assert.Equal(1, await presence.CountUsersAsync("/ws", Token));

        await again.Transport.LeaveAsync();
        await Eventually.True(() => two.Registry.Count == 0);
        Assert.True(await presence.IsUserOnlineAsync("ann", Token));
        Assert.Equal(["ann"], await presence.GetUsersAsync("/ws", Token));
    }

    [Fact]
    public async Task Users_ClusterIsUnreachable_ThrowsUnlessUserIsOnThisNode()
    {
        var backplane = new ManualBackplane();
        using var node = new TestEngine(backplane: backplane);
        await Listener.ConnectAsync(node, Group, "ann");
        backplane.Failures[nameof(IBackplane.GetMembersAsync)] = new BackplaneException("Unreachable.");

        Assert.True(await node.Presence.IsUserOnlineAsync("ann", Token));
        await Assert.ThrowsAsync<BackplaneException>(async () => await node.Presence.IsUserOnlineAsync("bob", Token));
        await Assert.ThrowsAsync<BackplaneException>(async () => await node.Presence.CountUsersAsync(Group, Token));
    }

    [Fact]
    public async Task Users_InvalidArgumentOrCanceledToken_Throw()
    {
        using var node = new TestEngine();
        var canceled = new CancellationToken(canceled: true);
        await Assert.ThrowsAnyAsync<ArgumentException>(async () => await node.Presence.IsUserOnlineAsync("", Token));
        await Assert.ThrowsAnyAsync<ArgumentException>(async () => await node.Presence.GetUsersAsync("", Token));
        await Assert.ThrowsAnyAsync<ArgumentException>(async () => await node.Presence.CountUsersAsync("a\nb", Token));
        await Assert.ThrowsAnyAsync<OperationCanceledException>(async () => await node.Presence.IsUserOnlineAsync("ann", canceled));
        await Assert.ThrowsAnyAsync<OperationCanceledException>(async () => await node.Presence.GetUsersAsync(Group, canceled));
    }

    static bool IsOnline(TestEngine node, string user) => IsOnline(node.Presence, user);

    /// <summary>Returns true if the user is online. The in-memory cluster completes this call synchronously.</summary>
    static bool IsOnline(IPresence presence, string user) => presence.IsUserOnlineAsync(user, Token).AsTask().GetAwaiter().GetResult();

    static Connection Connect(TestEngine node, string? user) =>
        node.Connect(node.Pumps[0], Group, new ManualSink(), new FakeRequest { UserId = user });

    Task<BroadcastApp> StartAsync(RecoveryClock clock) => BroadcastApp.StartReliableAsync(
        clock, configure: builder => builder.Services.AddBroadcast().AddInMemoryCluster(_cluster));
}
