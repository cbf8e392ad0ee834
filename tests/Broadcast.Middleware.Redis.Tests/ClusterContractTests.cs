using Broadcast.Middleware.Redis.Tests.Infrastructure;
using StackExchange.Redis;

namespace Broadcast.Middleware.Redis.Tests;

/// <summary>Runs the backplane contract on a Redis Cluster.</summary>
public sealed class ClusterContractTests(SharedRedis redis, RedisCluster cluster) : RedisContractTests(redis)
{
    protected override async ValueTask<IBackplane> CreateNodeAsync() =>
        Nodes.Create(await cluster.GetConfigurationAsync(), options => options.Prefix = Prefix);

    protected override async Task<ConnectionMultiplexer> ConnectAsync() =>
        await RedisServer.ConnectAsync(await cluster.GetConfigurationAsync());
}
