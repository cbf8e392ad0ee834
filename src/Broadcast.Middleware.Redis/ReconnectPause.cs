using StackExchange.Redis;

namespace Broadcast.Middleware;

/// <summary>
/// How long to wait before the next attempt, and when to give one up that takes long: more each time, up to some seconds, and another share of it on each node,
/// so that nodes that lost Redis together do not come back together. The library's own draws anew each time it is asked, and so comes close to the shortest.
/// </summary>
sealed class ReconnectPause : IReconnectRetryPolicy
{
    const double First = 500, Growth = 1.5, Longest = 3000;

    readonly double _share = 0.5 + Random.Shared.NextDouble();

    public bool ShouldRetry(long currentRetryCount, int timeElapsedMillisecondsSinceLastRetry) =>
        timeElapsedMillisecondsSinceLastRetry >= _share * Math.Min(Longest, First * Math.Pow(Growth, currentRetryCount));
}
