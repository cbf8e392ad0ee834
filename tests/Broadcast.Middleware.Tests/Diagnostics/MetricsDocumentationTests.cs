using System.Diagnostics.Metrics;
using System.Text.RegularExpressions;
using Microsoft.Extensions.DependencyInjection;

namespace Broadcast.Middleware.Tests.Diagnostics;

/// <summary>Tests that docs/operations/metrics.md lists exactly the existing instruments and tag values.</summary>
public sealed partial class MetricsDocumentationTests
{
    static readonly string[] Lines = File.ReadAllLines(Path.Combine(AppContext.BaseDirectory, "metrics.md"));

    [Fact]
    public async Task MetricsDoc_AllInstruments_AreListed()
    {
        await using var app = await BroadcastApp.StartAsync();
        var factory = app.Services.GetRequiredService<IMeterFactory>();
        var instruments = new List<string>();
        using var listener = new MeterListener();
        listener.InstrumentPublished = (instrument, _) =>
        {
            if (ReferenceEquals(instrument.Meter.Scope, factory) && instrument.Meter.Name == BroadcastMetrics.MeterName) instruments.Add(instrument.Name);
        };
        listener.Start();

        Assert.Equal(instruments.Order(), FirstColumn().Where(name => name.StartsWith("broadcast.", StringComparison.Ordinal)).Order());
    }

    [Fact]
    public void MetricsDoc_AllEndReasons_AreListed() => Assert.Equal(
        Enum.GetValues<EndReason>().Select(BroadcastMetrics.Tag).Order(),
        FirstColumn().Where(name => !name.StartsWith("broadcast.", StringComparison.Ordinal)).Order());

    [Fact]
    public void MetricsDoc_AllRefusalReasons_AreListed()
    {
        var paragraph = string.Join(' ', Lines.SkipWhile(line => !line.Contains("of a refused handshake", StringComparison.Ordinal)));
        Assert.Equal(
            Enum.GetValues<RefusalReason>().Where(reason => reason != RefusalReason.None).Select(BroadcastMetrics.Tag).Order(),
            Quoted().Matches(paragraph).Select(match => match.Groups[1].Value).Where(name => name != "reason").Order());
    }

    static IEnumerable<string> FirstColumn() => Lines.Select(line => TableRow().Match(line)).Where(match => match.Success).Select(match => match.Groups[1].Value);

    [GeneratedRegex(@"^\| `([a-z_.]+)` \|")]
    private static partial Regex TableRow();

    [GeneratedRegex("`([a-z_]+)`")]
    private static partial Regex Quoted();
}
