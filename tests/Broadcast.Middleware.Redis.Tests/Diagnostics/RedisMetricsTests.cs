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
        // The node counts a batch after it has started to deliver the batch.
        await TestNode.EventuallyAsync(
            () => new(received.GetMeasurementSnapshot().EvaluateAsCounter() == 100), "The metric counts each message.");
        Assert.Equal(100, duration.GetMeasurementSnapshot().Count);
        outbox.RecordObservableInstruments();
        Assert.Equal(0, outbox.LastMeasurement!.Value);
        Assert.Equal("", outbox.LastMeasurement.Tags.GetValueOrDefault("broadcast.name") ?? "");
    }

    [Fact]
    public async Task MeterListener_Throws_MessagesStillArrive()
    {
        var backplane = CreateBackplane();
        var meters = _nodes.GetMeterFactory(backplane);
        using var listener = new MeterListener();
        listener.InstrumentPublished = (instrument, own) =>
        {
            if (ReferenceEquals(instrument.Meter.Scope, meters) && instrument.Meter.Name == RedisMetrics.MeterName)
                own.EnableMeasurementEvents(instrument);
        };
        var calls = 0;
        listener.SetMeasurementEventCallback<long>((_, _, _, _) => Fail());
        listener.SetMeasurementEventCallback<double>((_, _, _, _) => Fail());
        listener.Start();
        var node = new TestNode(backplane);
        await node.SubscribeAsync("/a");
        for (var i = 0; i < 3; i++) await node.PublishAsync("/a", $"{i}");
        await node.WaitForMessagesAsync("/a", 3);
        Assert.Equal(0, node.GetLossCount("/a"));
        Assert.InRange(Volatile.Read(ref calls), 4, int.MaxValue);

        void Fail()
        {
            Interlocked.Increment(ref calls);
            throw new InvalidOperationException("The listener failed.");
        }
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

    [Fact]
    public async Task Publish_RetainedLimitExceeded_CountsFailure()
    {
        var backplane = CreateBackplane();
        using var failed = CollectFailed(backplane);
        var node = new TestNode(backplane);
        var limits = new GroupOptions { RetainLatestPerKey = true, MaxRetainedKeys = 1 };
        await node.PublishAsync("/a", "1", limits, new("first", false));
        await Assert.ThrowsAsync<InvalidOperationException>(
            () => node.PublishAsync("/a", "2", limits, new("second", false)));
        Assert.Equal(1, failed.GetMeasurementSnapshot().EvaluateAsCounter());
    }

    /// <summary>
    /// A node delivers a message without an ID to its own connections while Redis is unreachable. A message with an ID
    /// fails.
    /// </summary>
    [Fact]
    public async Task Publish_WhenUnreachableIsLocal_CountsFailureOnlyForMessageWithId()
    {
        var backplane = _nodes.Create(
            $"127.0.0.1:{TestPorts.Allocate()}", static options => options.WhenUnreachable = WhenUnreachable.Local);
        using var failed = CollectFailed(backplane);
        var node = new TestNode(backplane);
        // The first publish waits for the first attempt to connect. The later publishes fail immediately.
        for (var i = 1; i <= 2; i++)
        {
            var error = await Assert.ThrowsAsync<BackplaneException>(() => node.PublishOnceAsync("/a", $"{i}", "text"));
            Assert.True(error.DeliverLocally);
            Assert.Equal(i, failed.GetMeasurementSnapshot().EvaluateAsCounter());
        }

        await Assert.ThrowsAsync<BackplaneException>(() => node.PublishAsync("/a", "text"));
        Assert.Equal(2, failed.GetMeasurementSnapshot().EvaluateAsCounter());
    }

    public async ValueTask DisposeAsync() => await _nodes.DisposeAsync();

    IBackplane CreateBackplane() =>
        _nodes.Create(redis.Server.Configuration, options => options.Prefix = $"{Guid.NewGuid():N}");

    MetricCollector<long> CollectFailed(IBackplane backplane) =>
        new(_nodes.GetMeterFactory(backplane), RedisMetrics.MeterName, "broadcast.redis.failed");

    [GeneratedRegex(@"^\| `(broadcast\.redis\.[a-z_.]+)` \|")]
    private static partial Regex TableRow();
}
