using Broadcast.Middleware.Contracts;

namespace Broadcast.Middleware.Redis.Tests;

/// <summary>The contract, on one server.</summary>
public class RedisContractTests(SharedRedis redis) : BackplaneContract
{
    private protected Nodes Nodes { get; } = new();

    protected string Prefix { get; } = $"contract-{Guid.NewGuid():N}";

    protected override Func<IBackplane, ValueTask>? Crash => async node => await ((RedisBackplane)node).CrashAsync();

    /// <summary>A cluster that forgets at once, and not when it has been away: everything with the prefix is deleted.</summary>
    protected override Func<ValueTask>? Forget => async () =>
    {
        await using var connection = await redis.Server.ConnectAsync();
        foreach (var server in connection.GetServers())
        {
            await foreach (var key in server.KeysAsync(pattern: $"{Prefix}:*")) await connection.GetDatabase().KeyDeleteAsync(key);
        }
    };

    protected override async ValueTask<IBackplane> CreateNodeAsync() => await Nodes.CreateAsync(redis.Server.Configuration, options => options.Prefix = Prefix);

    public override async ValueTask DisposeAsync()
    {
        GC.SuppressFinalize(this);
        await base.DisposeAsync();
        await Nodes.DisposeAsync();
    }
}
