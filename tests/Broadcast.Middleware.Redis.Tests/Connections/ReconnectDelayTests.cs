using Broadcast.Middleware.Redis.Connections;

namespace Broadcast.Middleware.Redis.Tests.Connections;

public sealed class ReconnectDelayTests
{
    [Fact]
    public void ShouldRetry_OnManyNodes_UsesGrowingAndDifferentDelays()
    {
        var firstDelays = new List<int>();
        for (var node = 0; node < 1000; node++)
        {
            var policy = new ReconnectDelay();
            var delays = Enumerable.Range(0, 20)
                .Select(retry => Enumerable.Range(0, 10_000).First(elapsed => policy.ShouldRetry(retry, elapsed)))
                .ToArray();
            Assert.Equal(delays.Order(), delays);
            Assert.InRange(delays[0], 250, 750);
            Assert.InRange(delays[^1], 6 * delays[0] - 10, 4500);
            // A repeated call for the same retry returns the same result.
            Assert.False(policy.ShouldRetry(3, delays[3] - 1));
            firstDelays.Add(delays[0]);
        }

        Assert.InRange(firstDelays.Distinct().Count(), 250, 501);
    }

    [Fact]
    public void ShouldRetry_LargestRetryCount_ReturnsTrue() =>
        Assert.True(new ReconnectDelay().ShouldRetry(long.MaxValue, 4500));
}
