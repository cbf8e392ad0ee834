namespace Broadcast.Middleware.Redis.Tests.Infrastructure;

/// <summary>
/// The effort of the long tests. For example, BROADCAST_TEST_EFFORT=10 multiplies the number of their messages by 10.
/// </summary>
static class Effort
{
    public static readonly int Factor =
        int.TryParse(Environment.GetEnvironmentVariable("BROADCAST_TEST_EFFORT"), out var factor) && factor > 0
            ? factor
            : 1;
}
