using Broadcast.Middleware.Redis.Tests.Infrastructure;
using StackExchange.Redis;

namespace Broadcast.Middleware.Redis.Tests;

/// <summary>
/// Runs the backplane contract on a connection of the app. This connection uses RESP2, the database 3 and a channel
/// prefix.
/// </summary>
public sealed class OwnConnectionContractTests(SharedRedis redis) : RedisContractTests(redis)
{
    const string Settings = "protocol=resp2,defaultDatabase=3,channelPrefix=app:";

    readonly SharedRedis _redis = redis;
    readonly List<ConnectionMultiplexer> _connections = [];

    protected override async ValueTask<IBackplane> CreateNodeAsync()
    {
        var connection = await ConnectAsync();
        _connections.Add(connection);
        return Nodes.Create(connection, options => options.Prefix = Prefix, name: "named: {one}");
    }

    protected override Task<ConnectionMultiplexer> ConnectAsync() =>
        RedisServer.ConnectAsync($"{_redis.Server.Configuration},{Settings}");

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
