using System.Collections.Concurrent;

namespace WebDemo;

/// <summary>Calculates percentiles.</summary>
static class Percentile
{
    /// <summary>Removes all values. Returns the percentile for each fraction, or null without values.</summary>
    public static double?[] Take(ConcurrentQueue<double> values, params double[] fractions)
    {
        var taken = new List<double>();
        while (values.TryDequeue(out var value)) taken.Add(value);
        taken.Sort();
        return [.. fractions.Select(fraction => taken.Count == 0 ? default(double?) : Math.Round(taken[(int)((taken.Count - 1) * fraction)], 2))];
    }
}
