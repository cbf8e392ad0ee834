using System.Diagnostics.Metrics;
using Broadcast.Middleware.Redis.Storage;

namespace Broadcast.Middleware.Redis.Diagnostics;

/// <summary>
/// The instruments of the meter <c>Broadcast.Redis</c>. docs/operations/redis.md lists these instruments.
/// </summary>
/// <remarks>
/// Each measurement has the tag <c>broadcast.name</c> with the name of the broadcast. Invariant: a listener of the app
/// that throws loses the measurement, and has no effect on a message or a subscription.
/// </remarks>
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
        _published = meter.CreateCounter<long>(
            "broadcast.redis.published", "{message}", "Messages that Redis has numbered.");
        _batches = meter.CreateCounter<long>(
            "broadcast.redis.batches", "{batch}", "Batches that Redis has numbered.");
        _failed = meter.CreateCounter<long>(
            "broadcast.redis.failed", "{message}", "Messages whose publish failed with an error.");
        _received = meter.CreateCounter<long>(
            "broadcast.redis.received", "{message}",
            "Messages that the node received through channels, including its own messages.");
        _refills = meter.CreateCounter<long>(
            "broadcast.redis.refills", "{refill}", "Reads of a stream because messages may be missing.");
        _lost = meter.CreateCounter<long>(
            "broadcast.redis.lost", "{group}", "Subscriptions that ended because messages may be lost.");
        _reconnects = meter.CreateCounter<long>(
            "broadcast.redis.reconnects", "{connection}", "Restored connections to Redis.");
        _duration = meter.CreateHistogram<double>(
            "broadcast.redis.publish.duration", "s",
            "Time from the publish call until Redis has numbered the message.",
            advice: new()
            {
                HistogramBucketBoundaries =
                [
                    0.0001, 0.00025, 0.0005, 0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10,
                ],
            });
        meter.CreateObservableUpDownCounter(
            "broadcast.redis.outbox.size", outboxBytes, "By", "Bytes of messages that Redis has not acknowledged.");
    }

    public bool MeasuresDuration => _duration.Enabled;

    public void Published(int messages)
    {
        Add(_published, messages);
        Add(_batches);
    }

    public void Failed() => Add(_failed);

    public void PublishTook(TimeSpan duration)
    {
        try
        {
            _duration.Record(duration.TotalSeconds);
        }
        catch (Exception)
        {
            // See the remarks of the class.
        }
    }

    public void Received(in Batch batch)
    {
        if (_received.Enabled) Add(_received, batch.CountMessages());
    }

    public void Refilled() => Add(_refills);

    public void Lost() => Add(_lost);

    public void Reconnected() => Add(_reconnects);

    static void Add(Counter<long> counter, long value = 1)
    {
        if (!counter.Enabled) return;
        try
        {
            counter.Add(value);
        }
        catch (Exception)
        {
            // See the remarks of the class.
        }
    }
}
