namespace Broadcast.Middleware.Logs;

/// <summary>Converts durations to the unit of <see cref="TimeProvider.GetTimestamp"/>.</summary>
static class TimestampExtensions
{
    /// <summary>Returns the difference between two timestamps that are a duration apart.</summary>
    /// <remarks>
    /// The calculation uses integers. With a <see cref="double"/>, some results would be one unit too low. For example,
    /// 11.665 s times 10 MHz is 116,649,999.99999999. A duration from another node may be too long for the result. The
    /// result is then the maximum.
    /// </remarks>
    public static long ToTimestampDifference(this TimeProvider time, TimeSpan duration) =>
        long.CreateSaturating((Int128)duration.Ticks * time.TimestampFrequency / TimeSpan.TicksPerSecond);
}
