using System.Globalization;

namespace WebDemo.Tests;

/// <summary>
/// The factor by which the environment variable BROADCAST_TEST_EFFORT extends the long tests. With
/// BROADCAST_TEST_EFFORT=20, these tests are up to 20 times as long. The default is 1.
/// </summary>
static class Effort
{
    public static readonly int Factor =
        int.TryParse(Environment.GetEnvironmentVariable("BROADCAST_TEST_EFFORT"), CultureInfo.InvariantCulture, out var factor) && factor > 0 ? factor : 1;
}
