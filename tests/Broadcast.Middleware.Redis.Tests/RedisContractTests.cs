using Broadcast.Middleware.Contracts;
using Broadcast.Middleware.Redis.Tests.Infrastructure;

namespace Broadcast.Middleware.Redis.Tests;

/// <summary>Runs the backplane contract on one Redis server.</summary>
public class RedisContractTests(SharedRedis redis) : BackplaneContract
{
    private protected NodeFactory Nodes { get; } = new();

    protected string Prefix { get; } = $"contract-{Guid.NewGuid():N}";

    protected override Func<IBackplane, ValueTask>? Crash =>
        async backplane => await ((RedisBackplane)backplane).CrashAsync();

    /// <summary>Deletes all keys with the prefix of the test.</summary>
    protected override Func<ValueTask>? Forget => async () =>
    {
        await using var connection = await redis.Server.ConnectAsync();
        foreach (var server in connection.GetServers())
        {
            await foreach (var key in server.KeysAsync(pattern: $"{Prefix}:*"))
                await connection.GetDatabase().KeyDeleteAsync(key);
        }
    };

    protected override ValueTask<IBackplane> CreateNodeAsync() =>
        new(Nodes.Create(redis.Server.Configuration, options => options.Prefix = Prefix));

    public override async ValueTask DisposeAsync()
    {
        GC.SuppressFinalize(this);
        await base.DisposeAsync();
        await Nodes.DisposeAsync();
    }
}
