using Broadcast.Middleware.Redis.Diagnostics;
using Broadcast.Middleware.Redis.Tests.Infrastructure;
using Microsoft.Extensions.Diagnostics.Metrics.Testing;

namespace Broadcast.Middleware.Redis.Tests.Members;

/// <summary>
/// Tests that a node stays listed while it writes its members, and that it rewrites all members only if necessary.
/// </summary>
public sealed class NodeHeartbeatTests : RedisTest
{
    // On a busy machine, a node may renew its heartbeat late. So this timeout is longer than in other tests.
    static readonly TimeSpan NodeTimeout = TimeSpan.FromSeconds(15);

    [Fact]
    public async Task Node_WritesManyMembersToSlowRedis_StaysListed()
    {
        const int Members = 20_000;
        var proxy = CreateProxy();
        // The writes must take longer than the timeout, so this timeout is short.
        var nodeTimeout = TimeSpan.FromSeconds(10);
        var (writer, observer) = (
            StartNode(proxy.Configuration, options => options.NodeTimeout = nodeTimeout), StartNode());
        writer.Backplane.SetMember(Group, "m", default);
        await TestNode.EventuallyAsync(() => IsListedAsync(observer, Group), "The first member is listed.");
        var name = writer.NodeName;
        var started = TimeProvider.System.GetTimestamp();
        proxy.AnswerDelay = TimeSpan.FromMilliseconds(160);
        for (var i = 0; i < Members; i++) writer.Backplane.SetMember($"/{i}", "m", default);
        await TestNode.EventuallyAsync(
            async () =>
            {
                Assert.True(await IsListedAsync(observer, Group), "The node is listed during the writes.");
                return await IsListedAsync(observer, $"/{Members - 1}");
            },
            "All members are written.", TimeSpan.FromMinutes(3));
        // The test proves the renewal of the heartbeat only if the writes take longer than the timeout.
        Assert.True(TimeProvider.System.GetElapsedTime(started) > nodeTimeout, "The writes are slow.");
        Assert.Equal(name, writer.NodeName);
    }

    [Fact]
    public async Task LargeGroup_WrittenToSlowRedis_MemberCountNeverDecreases()
    {
        const int Members = 20_000;
        var proxy = CreateProxy();
        var (writer, observer) = (
            StartNode(
                proxy.Configuration,
                static options => (options.PublishTimeout, options.NodeTimeout) = (TimeSpan.FromSeconds(1), NodeTimeout)),
            StartNode());
        // After its connect, the node writes all members again. When the second member is listed, this rewrite has
        // ended.
        foreach (var group in new[] { "/first", "/second" })
        {
            writer.Backplane.SetMember(group, "m", default);
            await TestNode.EventuallyAsync(() => IsListedAsync(observer, group), $"{group} is listed.");
        }

        proxy.AnswerDelay = TimeSpan.FromMilliseconds(20);
        for (var i = 0; i < Members; i++) writer.Backplane.SetMember(Group, $"{i}", default);
        var previous = 0L;
        await TestNode.EventuallyAsync(
            async () =>
            {
                var count = await observer.Backplane.CountMembersAsync(Group, Token);
                Assert.True(count >= previous, $"The member count decreased from {previous} to {count}.");
                previous = count;
                return count == Members;
            },
            "All members are written.");
    }

    [Fact]
    public async Task LargeGroup_Rewritten_StaysCompleteForOtherNodes()
    {
        const int Members = 5_000;
        var proxy = CreateProxy();
        var (writer, observer) = (StartNode(proxy.Configuration, UseLongTimeout), StartNode());
        for (var i = 0; i < Members; i++) writer.Backplane.SetMember(Group, $"{i}", default);
        await TestNode.EventuallyAsync(async () => await CountAsync() == Members, "All members are written.");
        await using var connection = await Redis.ConnectAsync();
        var name = writer.NodeName!;
        for (var round = 1; round <= 3; round++)
        {
            var before = await RedisServer.GetCallCountAsync(connection, "hset");
            proxy.Disconnect();
            await TestNode.EventuallyAsync(
                async () =>
                {
                    Assert.Equal(Members, await CountAsync());
                    return await RedisServer.GetCallCountAsync(connection, "hset") - before >= (Members + 255) / 256;
                },
                "The node writes all members again after the reconnect.");
        }

        // Add one member that the node does not have. The node compares the numbers of members and removes this member.
        // The check of the last rewrite may still run and remove the member, so add the member until Redis keeps it.
        await TestNode.EventuallyAsync(
            async () =>
            {
                await connection.GetDatabase().HashSetAsync(Keys.Members(name), "stale", "");
                return await CountAsync() == Members + 1;
            },
            "Redis has a stale member.");
        proxy.Disconnect();
        await TestNode.EventuallyAsync(async () => await CountAsync() == Members, "The stale member is removed.");
        Assert.Equal(name, writer.NodeName);

        async Task<long> CountAsync() => await observer.Backplane.CountMembersAsync(Group, Token);
    }

    [Fact]
    public async Task Replica_Disconnects_MembersAreNotWrittenAgain()
    {
        const int Members = 100;
        await using var replica = await RedisServer.StartReplicaAsync(Redis);
        await using var proxy = new RedisProxy(replica.Port);
        await AssertNotWrittenAgainAsync(
            StartNode($"{Redis.Configuration},{proxy.Configuration}", UseLongTimeout), Members,
            () =>
            {
                proxy.Disconnect();
                return Task.CompletedTask;
            });
    }

    [Fact]
    public async Task SubscriptionConnection_Disconnects_MembersAreNotWrittenAgain()
    {
        const int Members = 100;
        await using var connection = await Redis.ConnectAsync();
        await AssertNotWrittenAgainAsync(
            StartNode($"{Redis.Configuration},protocol=resp2", UseLongTimeout), Members,
            () => connection.GetServers()[0].ExecuteAsync("CLIENT", "KILL", "TYPE", "pubsub"));
    }

    /// <summary>Asserts that a node does not write its members again after <paramref name="disconnect"/>.</summary>
    async Task AssertNotWrittenAgainAsync(TestNode node, int members, Func<Task> disconnect)
    {
        await using var connection = await Redis.ConnectAsync();
        var observer = StartNode();
        using var reconnects = new MetricCollector<long>(
            Nodes.GetMeterFactory(node.Backplane), RedisMetrics.MeterName, "broadcast.redis.reconnects");
        await node.SubscribeAsync(Group);
        for (var i = 0; i < members; i++) node.Backplane.SetMember($"/{i}", "m", default);
        for (var i = 0; i < members; i++)
        {
            var group = $"/{i}";
            await TestNode.EventuallyAsync(() => IsListedAsync(observer, group), $"{group} is written.");
        }

        await WriteAsync("/marker");
        // The startup checks also call HSET.
        foreach (var started in new[] { node, observer }) await started.StartupChecks.WaitAsync(TestNode.Patience, Token);
        var before = await RedisServer.GetCallCountAsync(connection, "hset");
        const int Rounds = 3;
        for (var round = 1; round <= Rounds; round++)
        {
            var count = reconnects.GetMeasurementSnapshot().Count;
            await disconnect();
            await TestNode.EventuallyAsync(
                () => new(reconnects.GetMeasurementSnapshot().Count > count), "The node is connected again.");
            // The node performs a requested rewrite before it writes this member.
            await WriteAsync($"/marker{round}");
        }

        Assert.Equal(Rounds, await RedisServer.GetCallCountAsync(connection, "hset") - before);

        Task WriteAsync(string group)
        {
            node.Backplane.SetMember(group, "m", default);
            return TestNode.EventuallyAsync(() => IsListedAsync(observer, group), $"{group} is written.");
        }
    }

    [Fact]
    public async Task Replica_BecomesMasterWithoutMembers_MembersAreWrittenAgain()
    {
        await using var replica = await RedisServer.StartReplicaAsync(Redis);
        await using var oldMaster = await Redis.ConnectAsync();
        var node = StartNode($"{Redis.Configuration},{replica.Configuration},configCheckSeconds=1", UseLongTimeout);
        node.Backplane.SetMember(Group, "m", default);
        await using (var connection = await replica.ConnectAsync())
        {
            await TestNode.EventuallyAsync(
                async () => node.NodeName is { } name
                    && await connection.GetDatabase().KeyExistsAsync(Keys.Members(name)),
                "The replica has the member.");
            await connection.GetServers()[0].ExecuteAsync("REPLICAOF", "NO", "ONE");
        }

        await using var newMaster = await replica.ConnectAsync();
        var database = newMaster.GetDatabase();
        await TestNode.EventuallyAsync(() => new(node.NodeName is not null), "The node has a name.");
        var members = Keys.Members(node.NodeName!);
        await database.KeyDeleteAsync(members);
        await oldMaster.GetServers()[0].ExecuteAsync("REPLICAOF", "127.0.0.1", $"{replica.Port}");
        await TestNode.EventuallyAsync(async () => await database.KeyExistsAsync(members), "The member is written again.");
    }

    [Fact]
    public async Task Node_StoppedWhileItRenewsItsHeartbeat_LeavesNoHeartbeat()
    {
        await using var connection = await Redis.ConnectAsync();
        for (var round = 0; round < 20; round++)
        {
            var node = StartNode();
            // The startup checks also write a key with the pattern test::n:*, so wait until these checks have ended.
            await node.StartupChecks.WaitAsync(TestNode.Patience, Token);
            await TestNode.EventuallyAsync(() => new(node.NodeName is not null), "The node has a heartbeat.");
            var stop = ((IAsyncDisposable)node.Backplane).DisposeAsync().AsTask();
            while (!stop.IsCompleted)
            {
                ((RedisBackplane)node.Backplane).Heartbeat.RenewSoon();
                await Task.Yield();
            }

            await stop;
            Assert.Empty(connection.GetServers()[0].Keys(pattern: "test::n:*"));
        }
    }

    /// <summary>
    /// With BROADCAST_TEST_EFFORT=500, each node has 500,000 members. The test writes its measurements to the test
    /// output.
    /// </summary>
    [Fact]
    public async Task Redis_EmptiedWithManyMembersOnFourNodes_EachNodeTakesOneNewName()
    {
        const int NodeCount = 4;
        var members = 1_000 * Effort.Factor;
        var patience = TestNode.Patience + TimeSpan.FromSeconds(1.2 * Effort.Factor);
        await using var connection = await Redis.ConnectAsync();
        var server = connection.GetServers()[0];
        // The observer and the nodes use the default intervals.
        var observer = new TestNode(Nodes.Create(Redis.Configuration, usesShortIntervals: false));
        var nodes = new TestNode[NodeCount];
        for (var n = 0; n < NodeCount; n++)
        {
            nodes[n] = new(Nodes.Create(Redis.Configuration, usesShortIntervals: false));
            for (var i = 0; i < members; i++)
                nodes[n].Backplane.SetMember($"\u0001connection:{n:x2}{i:x20}", "node", default);
        }

        await WaitUntilCompleteAsync("first write");
        var firstNames = GetNames();
        await server.ExecuteAsync("FLUSHALL", "ASYNC");
        await TestNode.EventuallyAsync(
            () => new(nodes.All(node => node.NodeName is { } name && !firstNames.Contains(name))),
            "Each node has a new name.");
        var secondNames = GetNames();
        await WaitUntilCompleteAsync("rewrite of an empty Redis");
        Assert.Equal(secondNames, GetNames());

        string?[] GetNames() => [.. nodes.Select(node => node.NodeName)];

        async Task WaitUntilCompleteAsync(string step)
        {
            // Each member has two keys. Each node and the observer have a heartbeat.
            var expected = 2L * NodeCount * members + NodeCount + 1;
            var (started, keys) = (TimeProvider.System.GetTimestamp(), 0L);
            await TestNode.EventuallyAsync(
                async () =>
                {
                    keys = (long)await server.ExecuteAsync("DBSIZE");
                    for (var n = 0; keys == expected && n < NodeCount; n++)
                        Assert.True(await IsListedAsync(observer, $"\u0001connection:{n:x2}{members - 1:x20}"));
                    return keys == expected;
                },
                $"Redis has {expected} keys.",
                patience);
            TestContext.Current.TestOutputHelper?.WriteLine(
                $"{step}: {NodeCount} nodes with {members} members each, {keys} keys, " +
                $"{TimeProvider.System.GetElapsedTime(started).TotalSeconds:F1} s");
        }
    }

    static async ValueTask<bool> IsListedAsync(TestNode observer, string group) =>
        await observer.Backplane.CountMembersAsync(group, Token) == 1;

    static void UseLongTimeout(RedisBackplaneOptions options) => options.NodeTimeout = NodeTimeout;
}
