using System.Diagnostics.Metrics;
using System.Text.RegularExpressions;
using Broadcast.Middleware.Redis.Diagnostics;
using Broadcast.Middleware.Redis.Tests.Infrastructure;
using Microsoft.Extensions.Diagnostics.Metrics.Testing;

namespace Broadcast.Middleware.Redis.Tests.Diagnostics;

public sealed partial class RedisMetricsTests(SharedRedis redis) : IAsyncDisposable
{
    readonly NodeFactory _nodes = new();

    [Fact]
    public void RedisDocumentation_AllInstruments_AreListed()
    {
        var meters = _nodes.GetMeterFactory(CreateBackplane());
        var instruments = new List<string>();
        using var listener = new MeterListener();
        listener.InstrumentPublished = (instrument, _) =>
        {
            if (ReferenceEquals(instrument.Meter.Scope, meters) && instrument.Meter.Name == RedisMetrics.MeterName)
                instruments.Add(instrument.Name);
        };
        listener.Start();
        var documented = File.ReadLines(Path.Combine(AppContext.BaseDirectory, "redis.md"))
            .Select(line => TableRow().Match(line))
            .Where(match => match.Success)
            .Select(match => match.Groups[1].Value);
        Assert.Equal(instruments.Order(), documented.Order());
    }

    [Fact]
    public async Task Publish_ManyMessages_MetricsCountEachMessage()
    {
        var backplane = CreateBackplane();
        var meters = _nodes.GetMeterFactory(backplane);
        using var published = new MetricCollector<long>(
            meters, RedisMetrics.MeterName, "broadcast.redis.published");
        using var received = new MetricCollector<long>(meters, RedisMetrics.MeterName, "broadcast.redis.received");
        using var outbox = new MetricCollector<long>(meters, RedisMetrics.MeterName, "broadcast.redis.outbox.size");
        using var duration = new MetricCollector<double>(
            meters, RedisMetrics.MeterName, "broadcast.redis.publish.duration");
        var node = new TestNode(backplane);
        await node.SubscribeAsync("/a");
        await Task.WhenAll(Enumerable.Range(0, 100).Select(i => node.PublishAsync("/a", $"{i}")));
        await node.WaitForMessagesAsync("/a", 100);
        Assert.Equal(100, published.GetMeasurementSnapshot().EvaluateAsCounter());
        Assert.Equal(100, received.GetMeasurementSnapshot().EvaluateAsCounter());
        Assert.Equal(100, duration.GetMeasurementSnapshot().Count);
        outbox.RecordObservableInstruments();
        Assert.Equal(0, outbox.LastMeasurement!.Value);
        Assert.Equal("", outbox.LastMeasurement.Tags.GetValueOrDefault("broadcast.name") ?? "");
    }

    [Fact]
    public async Task Publish_StoredAndTransientMessages_ReceivedMetricCountsEachMessage()
    {
        var backplane = CreateBackplane();
        using var received = new MetricCollector<long>(
            _nodes.GetMeterFactory(backplane), RedisMetrics.MeterName, "broadcast.redis.received");
        var node = new TestNode(backplane);
        await node.SubscribeAsync("/a");
        await Task.WhenAll(Enumerable.Range(0, 100).Select(
            i => i % 2 == 0 ? node.PublishAsync("/a", $"{i}") : node.PublishTransientAsync("/a", $"{i}")));
        await TestNode.EventuallyAsync(
            () => new(received.GetMeasurementSnapshot().EvaluateAsCounter() == 100), "The metric counts each message.");
    }

    public async ValueTask DisposeAsync() => await _nodes.DisposeAsync();

    IBackplane CreateBackplane() =>
        _nodes.Create(redis.Server.Configuration, options => options.Prefix = $"{Guid.NewGuid():N}");

    [GeneratedRegex(@"^\| `(broadcast\.redis\.[a-z_.]+)` \|")]
    private static partial Regex TableRow();
}
