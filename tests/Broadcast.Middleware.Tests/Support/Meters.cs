using System.Diagnostics.Metrics;
using Microsoft.Extensions.DependencyInjection;
using Microsoft.Extensions.Diagnostics.Metrics.Testing;

namespace Broadcast.Middleware.Tests.Support;

/// <summary>Listens to the meter of one app. Create this object before the first client connects.</summary>
sealed class Meters : IDisposable
{
    public const string Connections = "broadcast.connections", Ended = "broadcast.connections.ended", Refused = "broadcast.handshakes.refused",
        Received = "broadcast.messages.received", Published = "broadcast.messages.published", Dropped = "broadcast.messages.dropped",
        DeliveredName = "broadcast.messages.delivered", LatencyName = "broadcast.delivery.latency";

    readonly Dictionary<string, MetricCollector<long>> _counters = [];
    readonly MetricCollector<long> _delivered;
    readonly object _factory;

    public Meters(BroadcastApp app)
    {
        _factory = app.Services.GetRequiredService<IMeterFactory>();
        foreach (var name in new[] { Connections, Ended, Refused, Received, Published, Dropped }) _counters[name] = Listen<long>(name);
        _delivered = Listen<long>(DeliveredName);
    }

    /// <summary>Listens for latency. The library measures latency only while a listener exists.</summary>
    public MetricCollector<double> Latency() => Listen<double>(LatencyName);

    public long Sum(string counter) => _counters[counter].GetMeasurementSnapshot().Sum(measurement => measurement.Value);

    /// <summary>Returns the counts by the tag <c>reason</c>.</summary>
    public IReadOnlyDictionary<string, long> ByReason(string counter) => _counters[counter].GetMeasurementSnapshot()
        .GroupBy(measurement => (string)measurement.Tags["reason"]!)
        .ToDictionary(reason => reason.Key, reason => reason.Sum(measurement => measurement.Value));

    public long Delivered
    {
        get
        {
            _delivered.RecordObservableInstruments();
            return _delivered.LastMeasurement!.Value;
        }
    }

    public void Dispose()
    {
        foreach (var counter in _counters.Values) counter.Dispose();
        _delivered.Dispose();
    }

    MetricCollector<T> Listen<T>(string name) where T : struct => new(_factory, BroadcastMetrics.MeterName, name);
}
