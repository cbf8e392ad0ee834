using Broadcast.Middleware.Redis.Connections;
using Broadcast.Middleware.Redis.Diagnostics;
using StackExchange.Redis;

namespace Broadcast.Middleware.Redis.Checks;

/// <summary>
/// Logs a warning if Redis may evict keys. If Redis evicts the heartbeat of a live node, other nodes no longer list the
/// members of that node.
/// </summary>
sealed class EvictionPolicyCheck(RedisConnection connection, RedisLogger logger)
{
    const string NoEviction = "noeviction";
    const string InfoField = "maxmemory_policy:";

    /// <summary>Reads the policy of each master, and logs at most one warning for each master.</summary>
    /// <exception cref="BackplaneException">Redis is unreachable.</exception>
    public Task RunAsync(TimeSpan timeout, CancellationToken cancellationToken) =>
        connection.ExecuteAsync(
            async multiplexer =>
            {
                var masters = multiplexer.GetServers()
                    .Where(static server => server is { IsConnected: true, IsReplica: false });
                foreach (var master in masters)
                {
                    var policy = await TryAsync(() => ReadConfigAsync(master))
                        ?? await TryAsync(() => ReadInfoAsync(master));
                    if (policy is null) logger.EvictionPolicyUnknown();
                    else if (policy != NoEviction) logger.EvictionPolicyWrong(policy);
                }

                return true;
            },
            connection.GetDeadline(timeout), retries: false, cancellationToken: cancellationToken);

    static async Task<string?> ReadConfigAsync(IServer server)
    {
        var result = await server.ExecuteAsync("CONFIG", "GET", "maxmemory-policy");
        return result.Length == 2 ? (string?)result[1] : null;
    }

    /// <summary>
    /// Reads INFO in a script, because StackExchange.Redis sends the plain command only with <c>allowAdmin</c>.
    /// </summary>
    static async Task<string?> ReadInfoAsync(IServer server)
    {
        var info = (string?)await server.ExecuteAsync("EVAL", "return redis.call('INFO', 'memory')", 0);
        var line = info?.Split('\n')
            .FirstOrDefault(static line => line.StartsWith(InfoField, StringComparison.Ordinal));
        return line?[InfoField.Length..].Trim();
    }

    /// <summary>
    /// Runs a command. Returns null if Redis denies the command. For example, managed Redis services deny CONFIG.
    /// </summary>
    static async Task<string?> TryAsync(Func<Task<string?>> read)
    {
        try
        {
            return await read();
        }
        catch (Exception exception) when (exception is RedisServerException or RedisCommandException)
        {
            return null;
        }
    }
}
