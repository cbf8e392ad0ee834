using Broadcast.Middleware.Contracts;
using StackExchange.Redis;

namespace Broadcast.Middleware.Redis.Tests;

/// <summary>Where a group's keys stand in a cluster, and that they can be moved.</summary>
public sealed class SlotTests(RedisCluster cluster) : IAsyncDisposable
{
    static readonly TimeSpan Patience = TimeSpan.FromSeconds(20);
    readonly Nodes _nodes = new();

    static CancellationToken Token => TestContext.Current.CancellationToken;

    [Fact]
    public async Task All_keys_of_a_group_stand_in_one_slot_however_it_is_called()
    {
        await using var connection = await ConnectionMultiplexer.ConnectAsync(await cluster.ConfigurationAsync());
        var random = new Random(1);
        const string Letters = "{}{}%:ab \0\u0001\ud83d\udf89ä";
        var slots = new HashSet<int>();
        for (var round = 0; round < 2000; round++)
        {
            var keys = new Keys("a", Name(), 0, []).Of(Name());
            var of = new[] { keys.State, keys.Stream, keys.Index, keys.Nodes, keys.Members("node") }.Select(key => connection.GetHashSlot(key)).Distinct().ToArray();
            Assert.Single(of);
            Assert.InRange(of[0], 0, 16383);
            slots.Add(of[0]);
        }

        // And not all groups in one.
        Assert.InRange(slots.Count, 500, 2000);

        string Name() => string.Concat(Enumerable.Range(0, random.Next(8)).Select(_ => Letters[random.Next(Letters.Length)]));
    }

    [Fact]
    public async Task A_group_can_be_moved_to_another_server_while_it_is_published_to()
    {
        const string Group = "/moved";
        var configuration = await cluster.ConfigurationAsync();
        var (publisher, hearer) = (await NodeAsync(), await NodeAsync());
        await hearer.SubscribeAsync(Group);
        await using var connection = await ConnectionMultiplexer.ConnectAsync($"{configuration},allowAdmin=true");
        var state = new Keys("moved", "", 0, []).Of(Group).State;
        var slot = connection.GetHashSlot(state);
        var from = connection.GetServer((await connection.GetDatabase().IdentifyEndpointAsync(state))!);
        var others = connection.GetServers().Where(server => !server.EndPoint.Equals(from.EndPoint)).ToArray();
        var to = others[0];

        using var enough = new CancellationTokenSource();
        var published = 0;
        var publishing = Task.Run(
            async () =>
            {
                while (!enough.IsCancellationRequested) Assert.Equal(published + 1, (await publisher.PublishAsync(Group, $"{published++}")).Offset);
            },
            Token);
        await MoreAsync();
        var (fromId, toId) = ((string)(await from.ExecuteAsync("CLUSTER", "MYID"))!, (string)(await to.ExecuteAsync("CLUSTER", "MYID"))!);
        await to.ExecuteAsync("CLUSTER", "SETSLOT", slot, "IMPORTING", fromId);
        await from.ExecuteAsync("CLUSTER", "SETSLOT", slot, "MIGRATING", toId);
        await MoreAsync();
        while ((RedisKey[])(await from.ExecuteAsync("CLUSTER", "GETKEYSINSLOT", slot, 1))! is [var key])
        {
            var port = ((System.Net.IPEndPoint)to.EndPoint).Port;
            await from.ExecuteAsync("MIGRATE", "127.0.0.1", port, key, 0, 5000);
            // Long enough for a publish to find some keys here and some there.
            await Task.Delay(50, Token);
        }

        await MoreAsync();
        foreach (var server in new[] { to, from, others[1] }) await server.ExecuteAsync("CLUSTER", "SETSLOT", slot, "NODE", toId);
        await MoreAsync();
        await enough.CancelAsync();
        await publishing;
        await hearer.HeardAsync(Group, published);
        Assert.Equal(Enumerable.Range(0, published).Select(i => $"{i}"), hearer.Heard(Group).Select(heard => heard.Text));
        Assert.Equal(0, hearer.Losses(Group));
        Assert.Equal(to.EndPoint, await connection.GetDatabase().IdentifyEndpointAsync(state));

        async Task MoreAsync()
        {
            var before = published;
            await Listener.EventuallyAsync(() => new(published > before + 100 || publishing.IsFaulted), Patience, "More is published.");
        }

        async Task<Listener> NodeAsync()
        {
            var node = new Listener(await _nodes.CreateAsync(configuration, options => options.Prefix = "moved"), Patience);
            node.Backplane.Start(node);
            return node;
        }
    }

    public async ValueTask DisposeAsync() => await _nodes.DisposeAsync();
}
