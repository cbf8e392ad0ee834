using System.Collections.Concurrent;
using System.Diagnostics;

namespace WebDemo;

/// <summary>Collects latencies in milliseconds, and calculates percentiles.</summary>
sealed class Latencies
{
    readonly ConcurrentQueue<double> _values = [];
    long _taken = Stopwatch.GetTimestamp();

    public void Add(double milliseconds) => _values.Enqueue(milliseconds);

    /// <summary>Removes all latencies, and returns their number per second since the last call, median and 99th percentile.</summary>
    public (double PerSecond, double? P50, double? P99) Take()
    {
        (var elapsed, _taken) = (Stopwatch.GetElapsedTime(_taken), Stopwatch.GetTimestamp());
        var taken = new List<double>();
        while (_values.TryDequeue(out var value)) taken.Add(value);
        taken.Sort();
        return (taken.Count / elapsed.TotalSeconds, Find(0.5), Find(0.99));

        double? Find(double fraction) => taken.Count == 0 ? null : Math.Round(taken[(int)((taken.Count - 1) * fraction)], 2);
    }
}
