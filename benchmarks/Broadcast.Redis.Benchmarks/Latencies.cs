using System.Diagnostics;
using System.Numerics;

namespace Broadcast.Redis.Benchmarks;

/// <summary>
/// A histogram of message latencies with a precision of one percent. Any number of threads can record.
/// </summary>
sealed class Latencies
{
    const int FineBits = 7;

    readonly long[] _counts = new long[64 << FineBits];
    long _count;

    public long Count => Volatile.Read(ref _count);

    /// <param name="stamp">
    /// A timestamp of <see cref="Stopwatch"/>. All processes of a machine use the same clock.
    /// </param>
    public void Record(long stamp)
    {
        var ticks = Math.Max(0, Stopwatch.GetTimestamp() - stamp);
        Interlocked.Increment(ref _counts[BucketOf(ticks)]);
        Interlocked.Increment(ref _count);
    }

    /// <summary>Returns a percentile in microseconds.</summary>
    public double Percentile(double percent)
    {
        var left = Math.Max(1, (long)Math.Ceiling(_counts.Sum() * percent / 100));
        for (var i = 0; i < _counts.Length; i++)
        {
            left -= _counts[i];
            if (left <= 0) return MiddleOf(i) * 1_000_000 / Stopwatch.Frequency;
        }

        return double.NaN;
    }

    static int BucketOf(long ticks)
    {
        var shift = Math.Max(0, BitOperations.Log2((ulong)ticks | 1) - FineBits);
        return (shift << FineBits) + (int)(ticks >> shift);
    }

    static double MiddleOf(int bucket)
    {
        var shift = Math.Max(0, (bucket >> FineBits) - 1);
        return ((bucket - ((long)shift << FineBits)) + 0.5) * (1L << shift);
    }
}
