using StackExchange.Redis;

namespace Broadcast.Middleware.Redis.Connections;

/// <summary>The delay between two attempts to reconnect. The delay grows from half a second to three seconds.</summary>
/// <remarks>
/// Each node multiplies the delay by its own random factor. So nodes that lost Redis at the same time do not reconnect
/// at the same time. The policies of StackExchange.Redis use a new random number at each call. StackExchange.Redis
/// calls a policy often, so the effective delay would be close to the minimum.
/// </remarks>
sealed class ReconnectDelay : IReconnectRetryPolicy
{
    const double FirstMilliseconds = 500, Growth = 1.5, MaxMilliseconds = 3000;

    readonly double _factor = 0.5 + Random.Shared.NextDouble();

    public bool ShouldRetry(long currentRetryCount, int timeElapsedMillisecondsSinceLastRetry)
    {
        var delay = Math.Min(MaxMilliseconds, FirstMilliseconds * Math.Pow(Growth, currentRetryCount));
        return timeElapsedMillisecondsSinceLastRetry >= _factor * delay;
    }
}
