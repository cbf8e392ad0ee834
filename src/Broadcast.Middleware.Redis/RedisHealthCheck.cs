using Microsoft.Extensions.Diagnostics.HealthChecks;

namespace Broadcast.Middleware;

/// <summary>Asks Redis for an answer.</summary>
sealed class RedisHealthCheck(RedisBackplane backplane) : IHealthCheck
{
    public async Task<HealthCheckResult> CheckHealthAsync(HealthCheckContext context, CancellationToken cancellationToken = default)
    {
        try
        {
            var link = backplane.Link;
            var timeout = context.Registration.Timeout;
            var took = await link.UntilAsync(
                multiplexer => multiplexer.GetDatabase().PingAsync(), link.DeadlineAfter(timeout == Timeout.InfiniteTimeSpan ? TimeSpan.FromSeconds(5) : timeout), once: true,
                cancellationToken: cancellationToken);
            return HealthCheckResult.Healthy(data: new Dictionary<string, object> { ["roundTrip"] = took });
        }
        catch (BackplaneException exception)
        {
            return new(context.Registration.FailureStatus, exception.Message, exception);
        }
        catch (OperationCanceledException exception)
        {
            return new(context.Registration.FailureStatus, "Redis has not answered in time.", exception);
        }
    }
}
