using System.Diagnostics.Metrics;

namespace Broadcast.Middleware.Dashboard.Figures;

/// <summary>
/// Listens to the instruments of one broadcast. The broadcast measures latencies only for a listener, because each
/// measurement costs time. So create this object only while a viewer is connected.
/// </summary>
sealed class Instruments : IDisposable
{
    readonly MeterListener _listener = new();

    public Instruments(Meter meter)
    {
        _listener.InstrumentPublished = (instrument, listener) =>
        {
            if (instrument.Meter != meter) return;
            object? state = instrument.Name switch
            {
                "broadcast.messages.received" => Received,
                "broadcast.messages.published" => Published,
                "broadcast.messages.delivered" => Delivered,
                "broadcast.messages.dropped" => Dropped,
                "broadcast.handshakes.refused" => Refused,
                "broadcast.delivery.latency" => Latency,
                _ => null,
            };
            if (state is not null) listener.EnableMeasurementEvents(instrument, state);
        };
        _listener.SetMeasurementEventCallback<long>(static (instrument, value, _, state) =>
        {
            if (instrument.IsObservable) ((Total)state!).Set(value);
            else ((Total)state!).Add(value);
        });
        _listener.SetMeasurementEventCallback<double>(
            static (_, value, _, state) => ((LatencyHistogram)state!).Add(value));
        _listener.Start();
        // The first sum also contains deliveries before the measurement. Ignore these deliveries.
        Observe();
        Delivered.TakeIncrease();
    }

    public Total Received { get; } = new();
    public Total Published { get; } = new();
    public Total Delivered { get; } = new();
    public Total Dropped { get; } = new();
    public Total Refused { get; } = new();
    public LatencyHistogram Latency { get; } = new();

    /// <summary>Reads the instruments that report a sum.</summary>
    public void Observe() => _listener.RecordObservableInstruments();

    public void Dispose() => _listener.Dispose();
}
