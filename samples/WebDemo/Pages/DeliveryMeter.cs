using System.Diagnostics.Metrics;

namespace WebDemo;

/// <summary>Counts the deliveries of this process, and measures the time from publish to write.</summary>
/// <remarks>The library measures this time only while a listener is active.</remarks>
sealed class DeliveryMeter : IDisposable
{
    readonly MeterListener _listener = new();
    readonly Latencies _latencies = new();
    long _delivered, _before;

    public DeliveryMeter()
    {
        _listener.InstrumentPublished = static (metric, listener) =>
        {
            if (metric.Name is "broadcast.messages.delivered" or "broadcast.delivery.latency") listener.EnableMeasurementEvents(metric);
        };
        _listener.SetMeasurementEventCallback<long>((_, value, _, _) => _delivered += value);
        _listener.SetMeasurementEventCallback<double>((_, value, _, _) => _latencies.Add(value * 1000));
        _listener.Start();
        // Ignore the first result, because the counters started with the process.
        Read();
    }

    /// <summary>Returns the deliveries and the 99th percentile of the latency, in milliseconds, since the last call.</summary>
    public (long Messages, double? P99) Read()
    {
        _delivered = 0;
        _listener.RecordObservableInstruments();
        (var messages, _before) = (_delivered - _before, _delivered);
        return (messages, _latencies.Take().P99);
    }

    public void Dispose() => _listener.Dispose();
}
