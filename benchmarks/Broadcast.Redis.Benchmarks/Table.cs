using System.Globalization;

namespace Broadcast.Redis.Benchmarks;

/// <summary>A table of measured values. Each cell shows the median [minimum..maximum] of all rounds.</summary>
sealed class Table(string title, string first, params string[] columns)
{
    readonly List<(string Row, Dictionary<string, List<double>> Cells)> _rows = [];

    public void Add(string row, string column, double value)
    {
        var found = _rows.Find(known => known.Row == row);
        if (found.Row is null) _rows.Add(found = (row, []));
        if (!found.Cells.TryGetValue(column, out var values)) found.Cells[column] = values = [];
        values.Add(value);
    }

    public double Median(string row, string column) => Median(_rows.Find(known => known.Row == row).Cells[column]);

    public void Print()
    {
        Console.WriteLine($"\n{title}\n");
        var lines = new List<string[]> { (string[])[first, .. columns] };
        foreach (var (row, cells) in _rows) lines.Add([row, .. columns.Select(column => cells.TryGetValue(column, out var values) ? Write(values) : "")]);
        var widths = Enumerable.Range(0, columns.Length + 1).Select(i => lines.Max(line => line[i].Length)).ToArray();
        lines.Insert(1, [.. widths.Select(static width => new string('-', width))]);
        foreach (var line in lines) Console.WriteLine($"| {string.Join(" | ", line.Select((cell, i) => cell.PadRight(widths[i])))} |");
    }

    static string Write(List<double> values) => values.Count == 1 ? Number(values[0]) : $"{Number(Median(values))} [{Number(values.Min())}..{Number(values.Max())}]";

    static double Median(List<double> values)
    {
        var sorted = values.Order().ToArray();
        return (sorted[sorted.Length / 2] + sorted[(sorted.Length - 1) / 2]) / 2;
    }

    /// <summary>Formats a value with three significant digits.</summary>
    static string Number(double value) => value.ToString(Math.Abs(value) switch { >= 100 => "N0", >= 10 => "N1", >= 1 => "N2", _ => "0.###" }, CultureInfo.InvariantCulture);
}
