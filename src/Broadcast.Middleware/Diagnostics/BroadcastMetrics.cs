using System.Diagnostics.Metrics;

namespace Broadcast.Middleware.Diagnostics;

/// <summary>
/// The meter <c>Broadcast</c>. The tag <c>broadcast.name</c> of the meter is the name of the broadcast.
/// docs/operations/metrics.md lists the instruments and all tag values.
/// </summary>
/// <remarks>
/// An instrument calls its listeners directly, and listeners are code of the app. Invariant: a listener that throws
/// loses the measurement, and has no effect on a connection, a count or the process.
/// </remarks>
sealed class BroadcastMetrics
{
    public const string MeterName = "Broadcast";

    static readonly double[] LatencyBuckets =
        [0.0001, 0.00025, 0.0005, 0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10];

    readonly UpDownCounter<long> _connections;
    readonly Counter<long> _ended;
    readonly Counter<long> _refused;
    readonly Counter<long> _recovered;
    readonly UpDownCounter<long> _readers;
    readonly Counter<long> _received;
    readonly Counter<long> _published;
    readonly Counter<long> _localOnly;
    readonly Counter<long> _dropped;
    readonly Histogram<double> _latency;

    /// <param name="factory">Creates the meter.</param>
    /// <param name="name">The name of the broadcast.</param>
    /// <param name="delivered">Returns the number of messages that all pumps have written to connections.</param>
    public BroadcastMetrics(IMeterFactory factory, string name, Func<long> delivered)
    {
        // The factory owns the meter and returns the same meter for equal options.
        var meter = factory.Create(new MeterOptions(MeterName) { Tags = [new("broadcast.name", name)] });
        Meter = meter;
        _connections = meter.CreateUpDownCounter<long>("broadcast.connections", "{connection}", "Open connections.");
        _ended = meter.CreateCounter<long>(
            "broadcast.connections.ended", "{connection}", "Connections that have ended, by reason.");
        _refused = meter.CreateCounter<long>(
            "broadcast.handshakes.refused", "{request}", "Requests that did not become connections, by reason.");
        _recovered = meter.CreateCounter<long>(
            "broadcast.connections.recovered", "{connection}", "Connections whose clients reconnected in time.");
        _readers = meter.CreateUpDownCounter<long>(
            "broadcast.readers", "{reader}", "Open readers of groups inside the app.");
        _received = meter.CreateCounter<long>(
            "broadcast.messages.received", "{message}", "Messages received from connections.");
        _published = meter.CreateCounter<long>(
            "broadcast.messages.published", "{message}",
            "Published messages. A message counts once for any number of recipients.");
        _localOnly = meter.CreateCounter<long>(
            "broadcast.messages.local_only", "{message}",
            "Published messages that other nodes did not receive, because the nodes were unreachable.");
        _dropped = meter.CreateCounter<long>(
            "broadcast.messages.dropped", "{message}",
            "Deliveries skipped because a connection or a reader was too slow.");
        _latency = meter.CreateHistogram<double>(
            "broadcast.delivery.latency", "s", "Time from publish to write of the oldest message in each write.",
            advice: new() { HistogramBucketBoundaries = [.. LatencyBuckets] });

        // Each pump counts its own deliveries. The pumps share no counter, so a delivery costs only one addition.
        meter.CreateObservableCounter(
            "broadcast.messages.delivered", delivered, "{message}", "Messages written to connections.");
    }

    public Meter Meter { get; }

    /// <summary>True if a listener reads the latency. Messages then need a time stamp.</summary>
    public bool MeasuresLatency => _latency.Enabled;

    public void Connected() => Add(_connections, 1);

    public void Ended(EndReason reason)
    {
        Add(_connections, -1);
        Add(_ended, 1, Tag(reason));
    }

    public void Refused(RefusalReason reason) => Add(_refused, 1, Tag(reason));

    public void Recovered() => Add(_recovered, 1);

    public void ReaderOpened() => Add(_readers, 1);

    public void ReaderEnded() => Add(_readers, -1);

    public void Received() => Add(_received, 1);

    public void Published() => Add(_published, 1);

    public void PublishedLocally() => Add(_localOnly, 1);

    public void Dropped(long messages) => Add(_dropped, messages, "slow_consumer");

    public void Delivering(TimeSpan latency)
    {
        if (!_latency.Enabled) return;
        try
        {
            _latency.Record(latency.TotalSeconds);
        }
        catch (Exception)
        {
            // See the remarks of the class.
        }
    }

    public static string Tag(EndReason reason) => reason switch
    {
        EndReason.ClosedByPeer => "closed_by_peer",
        EndReason.ClosedByApp => "closed_by_app",
        EndReason.Lost => "lost",
        EndReason.ProtocolError => "protocol_error",
        EndReason.MessageTooBig => "message_too_big",
        EndReason.RateLimited => "rate_limited",
        EndReason.FirstMessageTimeout => "first_message_timeout",
        EndReason.SlowConsumer => "slow_consumer",
        EndReason.ClusterLost => "cluster_lost",
        EndReason.ClusterUnreachable => "cluster_unreachable",
        EndReason.KeepAliveTimeout => "keep_alive_timeout",
        EndReason.SendTimeout => "send_timeout",
        EndReason.Failed => "failed",
        EndReason.AuthenticationExpired => "authentication_expired",
        EndReason.ShuttingDown => "shutting_down",
        _ => throw new ArgumentOutOfRangeException(nameof(reason)),
    };

    public static string Tag(RefusalReason reason) => reason switch
    {
        RefusalReason.BadRequest => "bad_request",
        RefusalReason.Origin => "origin",
        RefusalReason.MaxConnections => "max_connections",
        RefusalReason.MaxConnectionsPerUser => "max_connections_per_user",
        RefusalReason.MaxConnectionsPerAddress => "max_connections_per_address",
        RefusalReason.Registry => "registry",
        RefusalReason.Failed => "failed",
        RefusalReason.Recovery => "recovery",
        RefusalReason.ClusterUnreachable => "cluster_unreachable",
        RefusalReason.ShuttingDown => "shutting_down",
        _ => throw new ArgumentOutOfRangeException(nameof(reason)),
    };

    static void Add(UpDownCounter<long> counter, long value)
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

    static void Add(Counter<long> counter, long value, string? reason = null)
    {
        if (!counter.Enabled) return;
        try
        {
            if (reason is null) counter.Add(value);
            else counter.Add(value, new KeyValuePair<string, object?>("reason", reason));
        }
        catch (Exception)
        {
            // See the remarks of the class.
        }
    }
}
