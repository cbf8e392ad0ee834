namespace Broadcast.Middleware.Redis.Tests;

public sealed class ReconnectPauseTests
{
    [Fact]
    public void Pauses_grow_to_some_seconds_and_are_another_share_on_each_node()
    {
        var firsts = new List<int>();
        for (var node = 0; node < 1000; node++)
        {
            var policy = new ReconnectPause();
            var pauses = Enumerable.Range(0, 20).Select(retry => Enumerable.Range(0, 10_000).First(elapsed => policy.ShouldRetry(retry, elapsed))).ToArray();
            Assert.Equal(pauses.Order(), pauses);
            Assert.InRange(pauses[0], 250, 750);
            Assert.InRange(pauses[^1], 6 * pauses[0] - 10, 4500);
            // Asked again, it says the same.
            Assert.False(policy.ShouldRetry(3, pauses[3] - 1));
            firsts.Add(pauses[0]);
        }

        Assert.InRange(firsts.Distinct().Count(), 250, 501);
        // A Redis that is away for years.
        Assert.True(new ReconnectPause().ShouldRetry(long.MaxValue, 4500));
    }
}
