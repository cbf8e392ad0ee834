namespace Broadcast.Middleware.Logs;

/// <summary>Converts durations to the unit of <see cref="TimeProvider.GetTimestamp"/>.</summary>
static class TimestampExtensions
{
    /// <summary>Returns the difference between two timestamps that are a duration apart.</summary>
    /// <remarks>
    /// The calculation uses integers. With a <see cref="double"/>, some results would be one unit too low. For example,
    /// 11.665 s times 10 MHz is 116,649,999.99999999.
    /// </remarks>
    public static long ToTimestampDifference(this TimeProvider time, TimeSpan duration) =>
        (long)((Int128)duration.Ticks * time.TimestampFrequency / TimeSpan.TicksPerSecond);
}
