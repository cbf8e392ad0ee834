using Broadcast.Middleware.Redis;
using Broadcast.Middleware.Redis.Hosting;
using Microsoft.Extensions.Diagnostics.HealthChecks;

namespace Microsoft.Extensions.DependencyInjection;

/// <summary>Adds health checks for the Redis backplane.</summary>
public static class RedisHealthChecksBuilderExtensions
{
    /// <summary>
    /// Adds a health check for the Redis server of a broadcast. The check runs each command that the backplane needs,
    /// and receives a message through a channel.
    /// </summary>
    /// <param name="builder">The result of <c>AddHealthChecks</c>.</param>
    /// <param name="broadcast">The name of the broadcast. Empty for the default broadcast.</param>
    /// <param name="name">The name of the health check.</param>
    /// <param name="failureStatus">
    /// The status if Redis does not answer or refuses a command. Null means unhealthy.
    /// </param>
    /// <param name="tags">The tags of the health check.</param>
    /// <param name="timeout">The timeout of the health check. Null means 2 seconds.</param>
    public static IHealthChecksBuilder AddBroadcastRedis(
        this IHealthChecksBuilder builder, string broadcast = "", string name = "broadcast_redis",
        HealthStatus? failureStatus = null, IEnumerable<string>? tags = null, TimeSpan? timeout = null)
    {
        ArgumentNullException.ThrowIfNull(builder);
        ArgumentNullException.ThrowIfNull(broadcast);
        ArgumentNullException.ThrowIfNull(name);
        return builder.Add(new(
            name,
            services => new RedisHealthCheck(
                services.GetKeyedService<RedisBackplane>(broadcast)
                ?? throw new InvalidOperationException(
                    $"The broadcast '{broadcast}' has no Redis backplane. " +
                    $"Call AddBroadcast(\"{broadcast}\").AddRedis(…), or remove the health check.")),
            failureStatus, tags, timeout ?? TimeSpan.FromSeconds(2)));
    }
}
