using System.Net;
using Broadcast.Middleware.Redis.Storage;
using Broadcast.Middleware.Redis.Tests.Infrastructure;
using StackExchange.Redis;

namespace Broadcast.Middleware.Redis.Tests.Storage;

/// <summary>Tests the slots of a group's keys in a Redis Cluster.</summary>
public sealed class ClusterSlotTests(RedisCluster cluster) : IAsyncDisposable
{
    readonly NodeFactory _nodes = new();

    static CancellationToken Token => TestContext.Current.CancellationToken;

    [Fact]
    public async Task GroupKeys_WithAnyName_AreInOneSlot()
    {
        await using var connection = await RedisServer.ConnectAsync(await cluster.GetConfigurationAsync());
        var random = new Random(1);
        const string Letters = "{}{}%:ab \0\u0001\ud83d\udf89ä";
        var slots = new HashSet<int>();
        for (var round = 0; round < 2000; round++)
        {
            var keys = new KeySpace("a", CreateName(), 0, []).ForGroup(CreateName());
            RedisKey[] all = [keys.State, keys.Stream, keys.Index, keys.Nodes, keys.Members("node")];
            var slot = Assert.Single(all.Select(key => connection.GetHashSlot(key)).Distinct());
            Assert.InRange(slot, 0, 16383);
            slots.Add(slot);
        }

        // Different groups use different slots, so the servers share the load.
        Assert.InRange(slots.Count, 500, 2000);

        string CreateName() => string.Concat(
            Enumerable.Range(0, random.Next(8)).Select(_ => Letters[random.Next(Letters.Length)]));
    }

    [Fact]
    public async Task MoveSlot_WhilePublishing_LosesNoMessage()
    {
        const string Group = "/moved";
        var configuration = await cluster.GetConfigurationAsync();
        var (publisher, subscriber) = (StartNode(), StartNode());
        await subscriber.SubscribeAsync(Group);
        await using var connection = await RedisServer.ConnectAsync($"{configuration},allowAdmin=true");
        var database = connection.GetDatabase();
        var state = new KeySpace("moved", "", 0, []).ForGroup(Group).State;
        var slot = connection.GetHashSlot(state);
        var source = connection.GetServer((await database.IdentifyEndpointAsync(state))!);
        var others = connection.GetServers().Where(server => !server.EndPoint.Equals(source.EndPoint)).ToArray();
        var target = others[0];

        using var cancellation = new CancellationTokenSource();
        var published = 0;
        var publishing = Task.Run(
            async () =>
            {
                while (!cancellation.IsCancellationRequested)
                    Assert.Equal(published + 1, (await publisher.PublishAsync(Group, $"{published++}")).Offset);
            },
            Token);
        await WaitForPublishesAsync();
        var sourceId = (string)(await source.ExecuteAsync("CLUSTER", "MYID"))!;
        var targetId = (string)(await target.ExecuteAsync("CLUSTER", "MYID"))!;
        await target.ExecuteAsync("CLUSTER", "SETSLOT", slot, "IMPORTING", sourceId);
        await source.ExecuteAsync("CLUSTER", "SETSLOT", slot, "MIGRATING", targetId);
        await WaitForPublishesAsync();
        while (await FindKeyAsync() is { } key)
        {
            var port = ((IPEndPoint)target.EndPoint).Port;
            await source.ExecuteAsync("MIGRATE", "127.0.0.1", port, key, 0, 5000);
            // During the move, each server has a part of the keys.
            await Task.Delay(50, Token);
        }

        await WaitForPublishesAsync();
        foreach (var server in new[] { target, source, others[1] })
            await server.ExecuteAsync("CLUSTER", "SETSLOT", slot, "NODE", targetId);
        await WaitForPublishesAsync();
        await cancellation.CancelAsync();
        await publishing;
        await subscriber.WaitForMessagesAsync(Group, published);
        Assert.Equal(Enumerable.Range(0, published).Select(i => $"{i}"), subscriber.GetReceivedTexts(Group));
        Assert.Equal(0, subscriber.GetLossCount(Group));
        Assert.Equal(target.EndPoint, await database.IdentifyEndpointAsync(state));

        async Task<RedisKey?> FindKeyAsync()
        {
            var keys = (RedisKey[])(await source.ExecuteAsync("CLUSTER", "GETKEYSINSLOT", slot, 1))!;
            return keys is [var key] ? key : (RedisKey?)null;
        }

        async Task WaitForPublishesAsync()
        {
            var before = published;
            await TestNode.EventuallyAsync(
                () => new(published > before + 100 || publishing.IsFaulted), "More than 100 messages are published.");
        }

        TestNode StartNode() => new(_nodes.Create(configuration, options => options.Prefix = "moved"));
    }

    public async ValueTask DisposeAsync() => await _nodes.DisposeAsync();
}
