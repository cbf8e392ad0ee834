using System.Diagnostics.Metrics;

namespace Broadcast.Middleware;

/// <summary>The meter <c>Broadcast.Redis</c>, with the broadcast's name as tag <c>broadcast.name</c>. docs/redis.md lists the instruments.</summary>
sealed class RedisMetrics
{
    public const string MeterName = "Broadcast.Redis";

    readonly Counter<long> _published;
    readonly Counter<long> _batches;
    readonly Counter<long> _failed;
    readonly Counter<long> _received;
    readonly Counter<long> _refills;
    readonly Counter<long> _lost;
    readonly Counter<long> _reconnects;
    readonly Histogram<double> _duration;

    public RedisMetrics(IMeterFactory factory, string name, Func<long> outboxBytes)
    {
        var meter = factory.Create(new MeterOptions(MeterName) { Tags = [new("broadcast.name", name)] });
        _published = meter.CreateCounter<long>("broadcast.redis.published", "{message}", "Messages that Redis has numbered.");
        _batches = meter.CreateCounter<long>("broadcast.redis.batches", "{batch}", "Batches they went in.");
        _failed = meter.CreateCounter<long>("broadcast.redis.failed", "{message}", "Messages whose publishers were told an error.");
        _received = meter.CreateCounter<long>("broadcast.redis.received", "{message}", "Messages that came from Redis, from this node too.");
        _refills = meter.CreateCounter<long>("broadcast.redis.refills", "{refill}", "How often a group had to read what it lacked.");
        _lost = meter.CreateCounter<long>("broadcast.redis.lost", "{group}", "How often a group's messages were missing for good.");
        _reconnects = meter.CreateCounter<long>("broadcast.redis.reconnects", "{connection}", "Connections to Redis that came back.");
        _duration = meter.CreateHistogram<double>(
            "broadcast.redis.publish.duration", "s", "From the call to the position, of messages that Redis has numbered.",
            advice: new() { HistogramBucketBoundaries = [0.0001, 0.00025, 0.0005, 0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10] });
        meter.CreateObservableUpDownCounter("broadcast.redis.outbox.size", outboxBytes, "By", "What waits to be published, or for Redis to say that it is.");
    }

    public bool MeasuresDuration => _duration.Enabled;

    public void Published(int messages)
    {
        _published.Add(messages);
        _batches.Add(1);
    }

    public void Failed() => _failed.Add(1);

    public void Took(TimeSpan duration) => _duration.Record(duration.TotalSeconds);

    public void Received(int messages) => _received.Add(messages);

    public void Refilled() => _refills.Add(1);

    public void Lost() => _lost.Add(1);

    public void Reconnected() => _reconnects.Add(1);
}
