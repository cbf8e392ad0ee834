using Microsoft.Extensions.Diagnostics.HealthChecks;

namespace Broadcast.Middleware.Redis.Hosting;

/// <summary>
/// Checks that Redis executes each command that the backplane needs, and delivers a message through a channel.
/// </summary>
sealed class RedisHealthCheck(RedisBackplane backplane) : IHealthCheck
{
    static readonly TimeSpan DefaultTimeout = TimeSpan.FromSeconds(5);

    public async Task<HealthCheckResult> CheckHealthAsync(
        HealthCheckContext context, CancellationToken cancellationToken = default)
    {
        try
        {
            var timeout = context.Registration.Timeout;
            if (timeout == Timeout.InfiniteTimeSpan) timeout = DefaultTimeout;
            var roundTrip = await backplane.CheckAsync(timeout, cancellationToken);
            return HealthCheckResult.Healthy(data: new Dictionary<string, object> { ["roundTrip"] = roundTrip });
        }
        catch (BackplaneException exception)
        {
            return new(context.Registration.FailureStatus, exception.Message, exception);
        }
        catch (OperationCanceledException exception)
        {
            return new(context.Registration.FailureStatus, "Redis did not answer in time.", exception);
        }
    }
}
