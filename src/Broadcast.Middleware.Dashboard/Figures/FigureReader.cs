using System.Diagnostics.Metrics;

namespace Broadcast.Middleware.Dashboard.Figures;

/// <summary>
/// Measures a broadcast from the creation of this object until its disposal. Only one thread at a time may use this
/// object.
/// </summary>
sealed class FigureReader : IDisposable
{
    readonly Instruments _instruments;
    readonly Func<int> _countConnections;
    readonly Func<int> _countGroups;
    readonly SlowClients _slowClients;
    readonly TimeProvider _time;
    long _lastRead;

    /// <param name="meter">The meter of the broadcast.</param>
    /// <param name="countConnections">Returns the number of connections of this node.</param>
    /// <param name="countGroups">Returns the number of groups of this node.</param>
    /// <param name="slowClients">Finds slow clients.</param>
    /// <param name="time">The time provider.</param>
    public FigureReader(
        Meter meter, Func<int> countConnections, Func<int> countGroups, SlowClients slowClients, TimeProvider time)
    {
        _countConnections = countConnections;
        _countGroups = countGroups;
        _slowClients = slowClients;
        _time = time;
        _instruments = new Instruments(meter);
        _lastRead = time.GetTimestamp();
    }

    /// <summary>Returns the figures of the time since the last call, or since the creation of this object.</summary>
    public async Task<Sample> ReadAsync()
    {
        _instruments.Observe();
        var now = _time.GetTimestamp();
        var seconds = Math.Max(_time.GetElapsedTime(_lastRead, now).TotalSeconds, 0.001);
        _lastRead = now;
        var latency = _instruments.Latency.TakePercentiles();
        var (slowCount, slow) = await _slowClients.FindAsync().ConfigureAwait(false);
        return new Sample
        {
            Time = _time.GetUtcNow().ToUnixTimeMilliseconds(),
            Connections = _countConnections(),
            Groups = _countGroups(),
            Received = Rate(_instruments.Received),
            Published = Rate(_instruments.Published),
            Delivered = Rate(_instruments.Delivered),
            Dropped = Rate(_instruments.Dropped),
            Refused = Rate(_instruments.Refused),
            Median = latency is { } median ? Math.Round(median.Median, 3) : null,
            P99 = latency is { } high ? Math.Round(high.P99, 3) : null,
            SlowCount = slowCount,
            Slow = slow,
        };

        double Rate(Total total) => Math.Round(total.TakeIncrease() / seconds, 1);
    }

    /// <summary>Stops the measurement. The broadcast then no longer measures latency for the dashboard.</summary>
    public void Dispose() => _instruments.Dispose();
}
