using Microsoft.AspNetCore.Builder;
using Microsoft.Extensions.DependencyInjection;

namespace Broadcast.Middleware.Tests.Clustering;

/// <summary>Tests two apps in one cluster. Each app has its own server and clients.</summary>
public sealed class TwoNodesTests
{
    readonly InMemoryCluster _cluster = new();

    [Fact]
    public async Task Publish_OnEitherNode_ReachesClientsOfBothNodes()
    {
        await using var one = await StartAsync();
        await using var two = await StartAsync();
        await using var ann = await one.ConnectAsync();
        await using var bob = await two.ConnectAsync();

        await ann.SendAsync("from ann");
        await ReceiveAsync("from ann", ann, bob);
        await bob.SendAsync("from bob");
        await ReceiveAsync("from bob", ann, bob);
        await one.Broadcaster.PublishAsync("to all", cancellationToken: TestContext.Current.CancellationToken);
        await ReceiveAsync("to all", ann, bob);
    }

    [Fact]
    public async Task PublishToSeveralGroups_MemberOnOtherNode_ReceivesMessageOnce()
    {
        await using var one = await StartAsync();
        await using var two = await StartAsync();
        await using var ann = await one.ConnectAsync();
        var id = one.Broadcaster.Connections.Connections.Single().Id;
        await one.Broadcaster.JoinAsync(id, "blue", TestContext.Current.CancellationToken);
        await one.Broadcaster.JoinAsync(id, "red", TestContext.Current.CancellationToken);

        await two.Broadcaster.PublishAsync("once", Recipients.Groups("blue", "red", "/ws"), cancellationToken: TestContext.Current.CancellationToken);
        await two.Broadcaster.PublishAsync("then", Recipients.Group("blue"), cancellationToken: TestContext.Current.CancellationToken);
        await ReceiveAsync("once", ann);
        await ReceiveAsync("then", ann);
    }

    [Fact]
    public async Task Recovery_OnOtherNode_ReceivesMissedMessages()
    {
        await using var one = await StartAsync();
        await using var two = await StartAsync();
        var token = TestContext.Current.CancellationToken;
        var first = await one.Broadcaster.PublishAsync("1", Recipients.Group("/ws"), cancellationToken: token);
        await two.Broadcaster.PublishAsync("2", Recipients.Group("/ws"), cancellationToken: token);
        await two.Broadcaster.PublishAsync("3", Recipients.Group("/ws"), cancellationToken: token);
        await using var ann = await two.ConnectAsync();
        Assert.True(await two.Broadcaster.LeaveAsync(two.Broadcaster.Connections.Connections.Single().Id, "/ws", token));

        var joined = await two.Broadcaster.JoinAsync(two.Broadcaster.Connections.Connections.Single().Id, "/ws", Replay.After(first.Position!.Value), token);

        Assert.Equal((true, true, first.Position), (joined.Joined, joined.Recovered, joined.Position));
        await ReceiveAsync("2", ann);
        await ReceiveAsync("3", ann);
    }

    [Fact]
    public async Task ClusterLoss_ConnectedClient_IsClosedWithCode1013()
    {
        await using var one = await StartAsync();
        await using var ann = await one.ConnectAsync();
        await one.Broadcaster.PublishAsync("before", cancellationToken: TestContext.Current.CancellationToken);

        await ReceiveAsync("before", ann);
        _cluster.Forget();

        Assert.Equal(1013, (await ann.ReceiveCloseAsync()).Code);
        // When a node loses its inbox, it closes all connections on another thread. Bob must connect after this close.
        await one.Services.GetRequiredKeyedService<BroadcastInstance>("").Cluster!.InboxOpening;
        await using var bob = await one.ConnectAsync();
        await one.Broadcaster.PublishAsync("after", cancellationToken: TestContext.Current.CancellationToken);
        await ReceiveAsync("after", bob);
    }

    [Fact]
    public async Task Publish_ToUserOrConnection_ReachesConnectionsOnEveryNode()
    {
        await using var one = await StartAsync();
        await using var two = await StartAsync();
        await using var ann = await one.ConnectAsync(userId: "ann");
        await using var annToo = await two.ConnectAsync(userId: "ann");
        await using var bob = await two.ConnectAsync(userId: "bob");
        var token = TestContext.Current.CancellationToken;
        var ofBob = two.Broadcaster.Connections.GetUserConnections("bob").Single().Id;

        Assert.Equal(1, (await one.Broadcaster.PublishAsync("to ann", Recipients.User("ann"), cancellationToken: token)).LocalRecipients);
        Assert.Equal(0, (await one.Broadcaster.PublishAsync("to bob", Recipients.Connection(ofBob), cancellationToken: token)).LocalRecipients);
        Assert.Equal(0, (await one.Broadcaster.PublishAsync("to nobody", Recipients.Connection("none"), cancellationToken: token)).LocalRecipients);
        await one.Broadcaster.PublishAsync("not to bob", Recipients.User("bob").Except(ofBob), cancellationToken: token);
        await one.Broadcaster.PublishAsync("end", cancellationToken: token);

        await ReceiveAsync("to ann", ann, annToo);
        await ReceiveAsync("to bob", bob);
        await ReceiveAsync("end", ann, annToo, bob);
    }

    [Fact]
    public async Task JoinLeaveAndClose_ConnectionOfOtherNode_ReturnSameResultsAsLocally()
    {
        await using var one = await StartAsync();
        await using var two = await StartAsync(options => options.MaxGroupsPerConnection = 2);
        await using var ann = await two.ConnectAsync();
        var id = two.Broadcaster.Connections.Connections.Single().Id;
        var token = TestContext.Current.CancellationToken;

        Assert.True(await one.Broadcaster.JoinAsync(id, "blue", token));
        Assert.False(await one.Broadcaster.JoinAsync(id, "blue", token));
        Assert.Contains("MaxGroupsPerConnection", (await Assert.ThrowsAsync<InvalidOperationException>(() => one.Broadcaster.JoinAsync(id, "red", token).AsTask())).Message, StringComparison.Ordinal);
        await one.Broadcaster.PublishAsync("blue", Recipients.Group("blue"), cancellationToken: token);
        await ReceiveAsync("blue", ann);
        Assert.True(await one.Broadcaster.LeaveAsync(id, "blue", token));
        Assert.False(await one.Broadcaster.LeaveAsync(id, "blue", token));
        Assert.False(await one.Broadcaster.CloseAsync("none", cancellationToken: token));
        Assert.True(await one.Broadcaster.CloseAsync(id, System.Net.WebSockets.WebSocketCloseStatus.PolicyViolation, "enough", token));
        Assert.Equal((1008, "enough"), await ann.ReceiveCloseAsync());
    }

    [Fact]
    public async Task Presence_OnTwoNodes_ListsMembersOfBothNodes()
    {
        // A watch polls the members of other nodes every second. The second node uses the system clock, so the test
        // does not have to advance a clock.
        await using var one = await StartAsync();
        await using var two = await StartAsync(configure: static builder => builder.Services.AddSingleton(TimeProvider.System));
        var (here, there) = (one.Services.GetRequiredService<IPresence>(), two.Services.GetRequiredService<IPresence>());
        var token = TestContext.Current.CancellationToken;
        await using var ann = await one.ConnectAsync(userId: "ann");
        await using var changes = there.WatchAsync("/ws", token).GetAsyncEnumerator(token);
        await NextAsync(PresenceChangeKind.Joined, "ann", "");

        await using (var bob = await one.ConnectAsync(userId: "bob"))
        {
            await NextAsync(PresenceChangeKind.Joined, "bob", "");
            Assert.Equal(2, await there.CountAsync("/ws", token));
            Assert.Equal(["ann", "bob"], (await there.GetMembersAsync("/ws", token)).Select(member => member.UserId).Order());
            Assert.True(await there.SetStateAsync(one.Broadcaster.Connections.GetUserConnections("bob").Single().Id, "/ws", "away"u8.ToArray(), token));
            await NextAsync(PresenceChangeKind.StateChanged, "bob", "away");
            Assert.Equal("away"u8.ToArray(), (await there.GetMembersAsync("/ws", token)).Single(member => member.UserId == "bob").State.ToArray());
        }

        await NextAsync(PresenceChangeKind.Left, "bob", "away");
        Assert.Equal((1, 1), (await here.CountAsync("/ws", token), await there.CountAsync("/ws", token)));
        await one.DisposeAsync();
        await NextAsync(PresenceChangeKind.Left, "ann", "");

        async Task NextAsync(PresenceChangeKind kind, string user, string state)
        {
            Assert.True(await changes.MoveNextAsync().AsTask().WaitAsync(Eventually.Patience, token));
            var (happened, member) = (changes.Current.Kind, changes.Current.Member);
            Assert.Equal((kind, user, state), (happened, member.UserId, System.Text.Encoding.UTF8.GetString(member.State.Span)));
        }
    }

    Task<BroadcastTestHost> StartAsync(
        Action<BroadcastOptions>? more = null, Action<WebApplicationBuilder>? configure = null) => BroadcastTestHost.StartAsync(
        options =>
        {
            options.Groups["/ws"] = new() { HistoryMessages = 100 };
            more?.Invoke(options);
        },
        configure: configure,
        cluster: _cluster,
        cancellationToken: TestContext.Current.CancellationToken);

    static async Task ReceiveAsync(string text, params RawTestClient[] clients)
    {
        foreach (var client in clients) Assert.Equal(text, await client.ReceiveTextAsync());
    }
}
