using Broadcast.Middleware;
using Microsoft.Extensions.Diagnostics.HealthChecks;

namespace Microsoft.Extensions.DependencyInjection;

/// <summary>Says whether a broadcast can reach its other nodes.</summary>
public static class RedisHealthChecksBuilderExtensions
{
    /// <summary>Adds a health check that asks the broadcast's Redis.</summary>
    /// <param name="builder">What <c>AddHealthChecks</c> has returned.</param>
    /// <param name="broadcast">The broadcast's name; empty for the default one.</param>
    /// <param name="name">The name of the check.</param>
    /// <param name="failureStatus">What it says when Redis does not answer; null for unhealthy.</param>
    /// <param name="tags">Tags to choose checks by.</param>
    /// <param name="timeout">How long it may take; null for 2 seconds.</param>
    public static IHealthChecksBuilder AddBroadcastRedis(
        this IHealthChecksBuilder builder, string broadcast = "", string name = "broadcast_redis", HealthStatus? failureStatus = null,
        IEnumerable<string>? tags = null, TimeSpan? timeout = null)
    {
        ArgumentNullException.ThrowIfNull(builder);
        ArgumentNullException.ThrowIfNull(broadcast);
        ArgumentNullException.ThrowIfNull(name);
        return builder.Add(new(
            name,
            services => new RedisHealthCheck(
                services.GetKeyedService<RedisBackplane>(broadcast)
                ?? throw new InvalidOperationException($"There is no AddBroadcast(\"{broadcast}\").AddRedis(…) to check.")),
            failureStatus, tags, timeout ?? TimeSpan.FromSeconds(2)));
    }
}
