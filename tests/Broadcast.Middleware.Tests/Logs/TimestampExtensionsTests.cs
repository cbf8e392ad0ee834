namespace Broadcast.Middleware.Tests.Logs;

/// <summary>Tests the conversion of durations to timestamp units.</summary>
public sealed class TimestampExtensionsTests
{
    [Theory]
    [InlineData(10_000_000, 11_665, 116_650_000)]
    [InlineData(1_000_000_000, 11_665, 11_665_000_000)]
    public void ToTimestampDifference_Duration_IsExact(long frequency, int milliseconds, long expected) =>
        Assert.Equal(expected, new Clock(frequency).ToTimestampDifference(TimeSpan.FromMilliseconds(milliseconds)));

    [Fact]
    public void ToTimestampDifference_LongestDuration_IsMaximum() =>
        Assert.Equal(long.MaxValue, new Clock(1_000_000_000).ToTimestampDifference(TimeSpan.MaxValue));

    sealed class Clock(long frequency) : TimeProvider
    {
        public override long TimestampFrequency => frequency;
    }
}
