using System.Diagnostics.Metrics;

namespace Broadcast.Middleware;

/// <summary>
/// The meter <c>Broadcast</c>, with the broadcast's name as tag <c>broadcast.name</c>. docs/metrics.md lists the instruments and
/// every value of their tags.
/// </summary>
sealed class BroadcastMetrics
{
    public const string MeterName = "Broadcast";

    readonly UpDownCounter<long> _connections;
    readonly Counter<long> _ended;
    readonly Counter<long> _refused;
    readonly Counter<long> _recovered;
    readonly Counter<long> _received;
    readonly Counter<long> _published;
    readonly Counter<long> _dropped;
    readonly Histogram<double> _latency;

    public BroadcastMetrics(IMeterFactory factory, string name, Pump[] pumps)
    {
        // Owned, and shared between equal ones, by the factory.
        var meter = factory.Create(new MeterOptions(MeterName) { Tags = [new("broadcast.name", name)] });
        _connections = meter.CreateUpDownCounter<long>("broadcast.connections", "{connection}", "Connections that are open.");
        _ended = meter.CreateCounter<long>("broadcast.connections.ended", "{connection}", "Connections that have ended, by reason.");
        _refused = meter.CreateCounter<long>("broadcast.handshakes.refused", "{request}", "Requests that did not become connections, by reason.");
        _recovered = meter.CreateCounter<long>("broadcast.connections.recovered", "{connection}", "Connections whose clients lost them, and came back in time.");
        _received = meter.CreateCounter<long>("broadcast.messages.received", "{message}", "Messages that connections have sent.");
        _published = meter.CreateCounter<long>("broadcast.messages.published", "{message}", "Messages that were published, to however many.");
        _dropped = meter.CreateCounter<long>("broadcast.messages.dropped", "{message}", "Deliveries left out because a connection was too slow.");
        _latency = meter.CreateHistogram<double>(
            "broadcast.delivery.latency", "s", "From publishing to writing, of the oldest message of each write.",
            advice: new() { HistogramBucketBoundaries = [0.0001, 0.00025, 0.0005, 0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10] });

        // Pumps count for themselves, so that a delivery costs no more than an addition.
        meter.CreateObservableCounter("broadcast.messages.delivered", () => pumps.Sum(pump => pump.Delivered), "{message}", "Messages written to connections.");
    }

    /// <summary>Whether somebody wants to know how long deliveries take, so that it has to be measured.</summary>
    public bool MeasuresLatency => _latency.Enabled;

    public void Connected() => _connections.Add(1);

    public void Ended(EndReason reason)
    {
        _connections.Add(-1);
        _ended.Add(1, new KeyValuePair<string, object?>("reason", Tag(reason)));
    }

    public void Refused(RefusalReason reason) => _refused.Add(1, new KeyValuePair<string, object?>("reason", Tag(reason)));

    public void Recovered() => _recovered.Add(1);

    public void Received() => _received.Add(1);

    public void Published() => _published.Add(1);

    public void Dropped(long messages) => _dropped.Add(messages, new KeyValuePair<string, object?>("reason", "slow_consumer"));

    public void Delivering(TimeSpan latency) => _latency.Record(latency.TotalSeconds);

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
        RefusalReason.ShuttingDown => "shutting_down",
        _ => throw new ArgumentOutOfRangeException(nameof(reason)),
    };
}
