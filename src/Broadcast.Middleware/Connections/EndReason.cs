namespace Broadcast.Middleware;

/// <summary>Why a connection has ended; the first cause counts. <see cref="BroadcastMetrics"/> shows it.</summary>
enum EndReason
{
    /// <summary>The peer said goodbye.</summary>
    ClosedByPeer,

    /// <summary>The app said goodbye, or did not let it in after the handshake.</summary>
    ClosedByApp,

    /// <summary>The peer was gone without a goodbye.</summary>
    Lost,

    /// <summary>The peer sent what RFC 6455 forbids.</summary>
    ProtocolError,

    /// <summary>A message exceeded a limit.</summary>
    MessageTooBig,

    /// <summary>It sent more messages than it may.</summary>
    RateLimited,

    /// <summary>It did not send its first message in time.</summary>
    FirstMessageTimeout,

    /// <summary>It fell too far behind.</summary>
    SlowConsumer,

    /// <summary>The cluster has lost messages that it should have had.</summary>
    ClusterLost,

    /// <summary>The cluster could not be reached for what it wanted.</summary>
    ClusterUnreachable,

    /// <summary>It did not answer a ping in time.</summary>
    KeepAliveTimeout,

    /// <summary>A write to it made no progress.</summary>
    SendTimeout,

    /// <summary>A filter or the registry threw.</summary>
    Failed,

    /// <summary>What it authenticated with is no longer valid.</summary>
    AuthenticationExpired,

    /// <summary>The app ends.</summary>
    ShuttingDown,
}
