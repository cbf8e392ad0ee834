using StackExchange.Redis;

namespace Broadcast.Middleware.Redis.Tests;

/// <summary>The contract, with everything that can differ: the older protocol, a database, a channel prefix, the app's own connection.</summary>
public sealed class OwnConnectionContractTests(SharedRedis redis) : RedisContractTests(redis)
{
    readonly SharedRedis _redis = redis;
    readonly List<ConnectionMultiplexer> _connections = [];

    protected override Func<ValueTask>? Forget => null;

    protected override async ValueTask<IBackplane> CreateNodeAsync()
    {
        var connection = await ConnectionMultiplexer.ConnectAsync($"{_redis.Server.Configuration},protocol=resp2,defaultDatabase=3,channelPrefix=app:");
        _connections.Add(connection);
        return await Nodes.CreateAsync(connection, options => options.Prefix = Prefix, name: "named: {one}");
    }

    public override async ValueTask DisposeAsync()
    {
        await base.DisposeAsync();
        foreach (var connection in _connections)
        {
            Assert.True(connection.IsConnected);
            await connection.DisposeAsync();
        }
    }
}

/// <summary>The contract, on a Redis Cluster.</summary>
public sealed class ClusterContractTests(SharedRedis redis, RedisCluster cluster) : RedisContractTests(redis)
{
    protected override Func<ValueTask>? Forget => null;

    protected override async ValueTask<IBackplane> CreateNodeAsync() => await Nodes.CreateAsync(await cluster.ConfigurationAsync(), options => options.Prefix = Prefix);
}
