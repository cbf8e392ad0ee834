namespace Broadcast.Middleware.Redis.Tests.Infrastructure;

/// <summary>
/// The factor by which the environment variable BROADCAST_TEST_EFFORT extends the long tests. For example,
/// BROADCAST_TEST_EFFORT=10 multiplies their number of messages by 10.
/// </summary>
static class Effort
{
    public static readonly int Factor =
        int.TryParse(Environment.GetEnvironmentVariable("BROADCAST_TEST_EFFORT"), out var factor) && factor > 0
            ? factor
            : 1;
}
