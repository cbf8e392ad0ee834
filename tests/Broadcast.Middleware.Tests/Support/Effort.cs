namespace Broadcast.Middleware.Tests.Support;

/// <summary>
/// The effort of the property and stress tests. BROADCAST_TEST_EFFORT=20 multiplies their iterations by 20.
/// </summary>
static class Effort
{
    public static readonly int Factor =
        int.TryParse(Environment.GetEnvironmentVariable("BROADCAST_TEST_EFFORT"), out var factor) && factor > 0 ? factor : 1;
}
