using System.Collections.Concurrent;

namespace WebDemo;

/// <summary>Collects latencies in milliseconds, and calculates percentiles.</summary>
sealed class Latencies
{
    readonly ConcurrentQueue<double> _values = [];

    public void Add(double milliseconds) => _values.Enqueue(milliseconds);

    /// <summary>Removes all latencies, and returns their number, median and 99th percentile.</summary>
    public (int Count, double? P50, double? P99) Take()
    {
        var taken = new List<double>();
        while (_values.TryDequeue(out var value)) taken.Add(value);
        taken.Sort();
        return (taken.Count, Find(0.5), Find(0.99));

        double? Find(double fraction) => taken.Count == 0 ? null : Math.Round(taken[(int)((taken.Count - 1) * fraction)], 2);
    }
}
