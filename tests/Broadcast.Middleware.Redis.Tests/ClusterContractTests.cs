using Broadcast.Middleware.Redis.Tests.Infrastructure;

namespace Broadcast.Middleware.Redis.Tests;

/// <summary>Runs the contract on a Redis Cluster.</summary>
public sealed class ClusterContractTests(SharedRedis redis, RedisCluster cluster) : RedisContractTests(redis)
{
    protected override Func<ValueTask>? Forget => null;

    protected override async ValueTask<IBackplane> CreateNodeAsync() =>
        Nodes.Create(await cluster.GetConfigurationAsync(), options => options.Prefix = Prefix);
}
