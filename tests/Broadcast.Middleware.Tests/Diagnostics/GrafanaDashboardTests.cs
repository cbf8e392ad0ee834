using System.Diagnostics.Metrics;
using System.Text.Json;
using System.Text.RegularExpressions;
using Broadcast.Middleware.Tests.Documentation;
using Microsoft.Extensions.DependencyInjection;

namespace Broadcast.Middleware.Tests.Diagnostics;

/// <summary>
/// Tests that the Grafana dashboard queries exactly the existing instruments, with the names that Prometheus gives them
/// (OpenTelemetry specification, "Prometheus and OpenMetrics Compatibility").
/// </summary>
public sealed partial class GrafanaDashboardTests
{
    /// <summary>The labels that Prometheus adds: the resource of the process, and the buckets of a histogram.</summary>
    static readonly string[] PrometheusLabels = ["job", "instance", "le"];

    static readonly JsonElement Dashboard = JsonDocument.Parse(
        File.ReadAllText(Path.Combine(SnippetTests.Repository, "docs", "operations", "grafana", "broadcast.json"))).RootElement;

    [Fact]
    public void Queries_AllMetrics_BelongToExistingInstruments()
    {
        var names = Instruments().SelectMany(static instrument => NamesInPrometheus(instrument)).ToHashSet();
        Assert.Superset(Queries().SelectMany(static query => MetricsOf(query.Expression)).ToHashSet(), names);
        // The variables for services and nodes query metrics, too.
        var variables = VariableQuery().Matches(Dashboard.GetProperty("templating").GetRawText()).Select(static match => match.Groups[1].Value).ToHashSet();
        Assert.NotEmpty(variables);
        Assert.Superset(variables, names);
    }

    [Fact]
    public void Instruments_OfAllMeters_AreShownByPanels()
    {
        var queried = Queries().SelectMany(static query => MetricsOf(query.Expression)).ToHashSet();
        Assert.All(Instruments(), instrument => Assert.True(queried.Overlaps(NamesInPrometheus(instrument)), $"No panel shows {instrument.Name}."));
    }

    [Fact]
    public void Queries_AllLabels_AreTagsOfTheirInstruments()
    {
        var tags = RecordTags();
        Assert.NotEmpty(tags);
        foreach (var (expression, legend) in Queries())
        {
            var metrics = MetricsOf(expression);
            Assert.True(metrics.Length > 0, $"The query contains no metric with a selector: {expression}");
            var grouped = Grouping().Matches(expression).SelectMany(static match => match.Groups[1].Value.Split(',', StringSplitOptions.TrimEntries)).ToHashSet();
            var selected = Selector().Matches(expression).SelectMany(static match => Label().Matches(match.Groups[2].Value)).Select(static match => match.Groups[1].Value);
            Assert.All(grouped.Union(selected).Except(PrometheusLabels), label => Assert.All(metrics, metric =>
                Assert.True(tags.Contains((metric, label)), $"{metric} has no tag {label}: {expression}")));
            Assert.All(Legend().Matches(legend), match => Assert.Contains(match.Groups[1].Value, grouped));
        }
    }

    [Fact]
    public void Panels_AllPanels_HaveTitleDescriptionAndSelectedDataSource()
    {
        var panels = Dashboard.GetProperty("panels").EnumerateArray().ToArray();
        Assert.Equal(panels.Length, panels.Select(static panel => panel.GetProperty("id").GetInt32()).Distinct().Count());
        foreach (var panel in panels)
        {
            Assert.NotEmpty(panel.GetProperty("title").GetString()!);
            if (panel.GetProperty("type").GetString() == "row") continue;
            Assert.NotEmpty(panel.GetProperty("description").GetString()!);
            Assert.Equal("${datasource}", panel.GetProperty("datasource").GetProperty("uid").GetString());
        }
    }

    static IEnumerable<(string Expression, string Legend)> Queries() =>
        from panel in Dashboard.GetProperty("panels").EnumerateArray()
        where panel.TryGetProperty("targets", out _)
        from target in panel.GetProperty("targets").EnumerateArray()
        select (target.GetProperty("expr").GetString()!, target.GetProperty("legendFormat").GetString()!);

    static string[] MetricsOf(string expression) => [.. Selector().Matches(expression).Select(static match => match.Groups[1].Value)];

    /// <summary>Returns the instruments of the library and of the Redis backplane.</summary>
    static List<Instrument> Instruments()
    {
        using var app = new ServiceCollection().AddLogging().AddBroadcast().Services.BuildServiceProvider();
        app.GetRequiredService<IBroadcaster>();
        using var node = new ServiceCollection().AddLogging().AddBroadcast().AddRedis("127.0.0.1:1", static options => options.Prefix = "test").Services.BuildServiceProvider();
        // The backplane does not connect before its start.
        node.GetRequiredService<IBackplane>();
        var instruments = new List<Instrument>();
        using var listener = new MeterListener();
        object[] factories = [app.GetRequiredService<IMeterFactory>(), node.GetRequiredService<IMeterFactory>()];
        listener.InstrumentPublished = (instrument, _) =>
        {
            if (factories.Contains(instrument.Meter.Scope) && instrument.Meter.Name is "Broadcast" or "Broadcast.Redis") instruments.Add(instrument);
        };
        listener.Start();
        Assert.Equal(["Broadcast", "Broadcast.Redis"], instruments.Select(static instrument => instrument.Meter.Name).Distinct().Order());
        return instruments;
    }

    static string[] NamesInPrometheus(Instrument instrument)
    {
        var name = instrument.Name.Replace('.', '_') + instrument.Unit switch
        {
            "s" => "_seconds",
            "By" => "_bytes",
            // A unit in braces is only a comment.
            ['{', ..] => "",
            _ => throw new NotSupportedException($"Add the Prometheus suffix of the unit {instrument.Unit}."),
        };
        return instrument switch
        {
            Counter<long> or ObservableCounter<long> => [$"{name}_total"],
            Histogram<double> => [$"{name}_bucket", $"{name}_sum", $"{name}_count"],
            UpDownCounter<long> or ObservableUpDownCounter<long> => [name],
            _ => throw new NotSupportedException($"Add the Prometheus name of {instrument.GetType()}."),
        };
    }

    /// <summary>Records one measurement of each instrument that has tags. Returns the names in Prometheus and the tags.</summary>
    static HashSet<(string Metric, string Tag)> RecordTags()
    {
        using var services = new ServiceCollection().AddMetrics().BuildServiceProvider();
        var factory = services.GetRequiredService<IMeterFactory>();
        var tags = new HashSet<(string, string)>();
        using var listener = new MeterListener();
        listener.InstrumentPublished = (instrument, listener) =>
        {
            if (ReferenceEquals(instrument.Meter.Scope, factory)) listener.EnableMeasurementEvents(instrument);
        };
        listener.SetMeasurementEventCallback<long>((instrument, _, measured, _) =>
        {
            foreach (var (tag, _) in measured) tags.UnionWith(NamesInPrometheus(instrument).Select(name => (name, tag)));
        });
        listener.Start();
        var metrics = new BroadcastMetrics(factory, "", static () => 0);
        metrics.Ended(EndReason.Lost);
        metrics.Refused(RefusalReason.Origin);
        metrics.Dropped(1);
        return tags;
    }

    [GeneratedRegex(@"([a-zA-Z_:][\w:]*)\{([^}]*)\}")]
    private static partial Regex Selector();

    [GeneratedRegex(@"label_values\((\w+)")]
    private static partial Regex VariableQuery();

    [GeneratedRegex(@"(\w+)\s*(?:=~|!~|!=|=)")]
    private static partial Regex Label();

    [GeneratedRegex(@"\b(?:by|without)\s*\(([^)]*)\)")]
    private static partial Regex Grouping();

    [GeneratedRegex(@"\{\{(\w+)\}\}")]
    private static partial Regex Legend();
}
