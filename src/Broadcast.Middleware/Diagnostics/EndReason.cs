namespace Broadcast.Middleware.Diagnostics;

/// <summary>
/// The reason why a connection ended. If a connection has several reasons, the first reason counts.
/// <see cref="BroadcastMetrics"/> reports the reason.
/// </summary>
enum EndReason
{
    /// <summary>The client sent a close frame.</summary>
    ClosedByPeer,

    /// <summary>The app closed the connection, or a connect filter refused the connection.</summary>
    ClosedByApp,

    /// <summary>The client disconnected without a close frame.</summary>
    Lost,

    /// <summary>The client violated RFC 6455.</summary>
    ProtocolError,

    /// <summary>A message exceeded a size limit.</summary>
    MessageTooBig,

    /// <summary>The client sent too many messages per second.</summary>
    RateLimited,

    /// <summary>The client did not send its first message in time.</summary>
    FirstMessageTimeout,

    /// <summary>The client was too slow.</summary>
    SlowConsumer,

    /// <summary>The cluster lost messages that the connection should have received.</summary>
    ClusterLost,

    /// <summary>The cluster was unreachable when the connection needed the cluster.</summary>
    ClusterUnreachable,

    /// <summary>The client did not answer a ping in time.</summary>
    KeepAliveTimeout,

    /// <summary>A write to the client stalled.</summary>
    SendTimeout,

    /// <summary>Code of the app threw an exception, for example a filter, the registry or the revalidator.</summary>
    Failed,

    /// <summary>The authentication expired, or a revalidator refused the connection.</summary>
    AuthenticationExpired,

    /// <summary>The app is shutting down.</summary>
    ShuttingDown,
}
