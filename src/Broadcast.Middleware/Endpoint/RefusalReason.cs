namespace Broadcast.Middleware;

/// <summary>Why a request did not become a connection. <see cref="BroadcastMetrics"/> shows it.</summary>
enum RefusalReason
{
    None,

    /// <summary>It is no WebSocket handshake, or its URL names no group.</summary>
    BadRequest,

    /// <summary>Its page belongs to a site that is not allowed.</summary>
    Origin,

    /// <summary>There are as many connections as may be.</summary>
    MaxConnections,

    /// <summary>The user has as many as one may have.</summary>
    MaxConnectionsPerUser,

    /// <summary>The address has as many as one may have.</summary>
    MaxConnectionsPerAddress,

    /// <summary>The registry does not let it in.</summary>
    Registry,

    /// <summary>The registry threw.</summary>
    Failed,

    /// <summary>There is no connection to come back to; it was told after the handshake.</summary>
    Recovery,

    /// <summary>The app ends.</summary>
    ShuttingDown,
}
