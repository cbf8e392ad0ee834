using Broadcast.Middleware.Contracts;
using Broadcast.Middleware.Redis.Tests.Infrastructure;
using StackExchange.Redis;

namespace Broadcast.Middleware.Redis.Tests;

/// <summary>Runs the backplane contract on one Redis server.</summary>
public class RedisContractTests(SharedRedis redis) : BackplaneContract
{
    private protected NodeFactory Nodes { get; } = new();

    protected string Prefix { get; } = $"contract-{Guid.NewGuid():N}";

    protected override ValueTask<IBackplane> CreateNodeAsync() =>
        new(Nodes.Create(redis.Server.Configuration, options => options.Prefix = Prefix));

    protected override async ValueTask CrashAsync(IBackplane node) => await ((RedisBackplane)node).CrashAsync();

    /// <summary>Deletes all keys with the prefix of the test.</summary>
    protected override async ValueTask LoseDataAsync()
    {
        await using var connection = await ConnectAsync();
        var database = connection.GetDatabase();
        foreach (var server in connection.GetServers())
        {
            await foreach (var key in server.KeysAsync(database.Database, $"{Prefix}:*"))
                await database.KeyDeleteAsync(key);
        }
    }

    /// <summary>Creates a connection that only the test uses, to the servers and the database of the nodes.</summary>
    protected virtual Task<ConnectionMultiplexer> ConnectAsync() => redis.Server.ConnectAsync();

    public override async ValueTask DisposeAsync()
    {
        GC.SuppressFinalize(this);
        await base.DisposeAsync();
        await Nodes.DisposeAsync();
    }
}
