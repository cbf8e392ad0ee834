using System.Numerics;

namespace Broadcast.Middleware.Dashboard.Figures;

/// <summary>
/// Counts latencies in buckets. The range from one power of two (in microseconds) to the next has eight buckets, so a
/// percentile is at most one eighth too high. Any thread may add a latency.
/// </summary>
sealed class LatencyHistogram
{
    const int BucketsPerPower = 8;
    const int MaxPower = 36; // 2^36 µs are 19 hours.

    readonly long[] _counts = new long[(MaxPower + 1) * BucketsPerPower];
    readonly long[] _taken = new long[(MaxPower + 1) * BucketsPerPower];

    public void Add(double seconds) => Interlocked.Increment(ref _counts[IndexOf(seconds)]);

    /// <summary>
    /// Returns the median and the 99th percentile of the latencies since the last call, in milliseconds. Returns null
    /// without latencies. Only one thread may call this method.
    /// </summary>
    public (double Median, double P99)? TakePercentiles()
    {
        var total = 0L;
        Span<long> counts = stackalloc long[_counts.Length];
        for (var i = 0; i < counts.Length; i++)
        {
            var count = Volatile.Read(ref _counts[i]);
            counts[i] = count - _taken[i];
            _taken[i] = count;
            total += counts[i];
        }

        return total == 0 ? null : (Find(counts, (total + 1) / 2), Find(counts, total - (total / 100)));
    }

    static double Find(ReadOnlySpan<long> counts, long rank)
    {
        var sum = 0L;
        for (var i = 0; i < counts.Length; i++)
        {
            sum += counts[i];
            if (sum >= rank) return UpperBoundOf(i) / 1000;
        }

        return UpperBoundOf(counts.Length - 1) / 1000;
    }

    static int IndexOf(double seconds)
    {
        var microseconds = (ulong)Math.Clamp(seconds * 1e6, 1, (1UL << MaxPower) - 1);
        var power = BitOperations.Log2(microseconds);
        // The bits after the highest bit select the bucket.
        var fraction = power >= 3 ? microseconds >> (power - 3) : microseconds << (3 - power);
        return (power * BucketsPerPower) + (int)(fraction & (BucketsPerPower - 1));
    }

    /// <summary>Returns the upper bound of a bucket in microseconds.</summary>
    static double UpperBoundOf(int index) =>
        Math.Pow(2, index / BucketsPerPower) * (1 + ((index % BucketsPerPower) + 1) / (double)BucketsPerPower);
}
