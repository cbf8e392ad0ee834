namespace Broadcast.Middleware.Diagnostics;

/// <summary>
/// The reason why a request did not become a connection. <see cref="BroadcastMetrics"/> reports the reason.
/// </summary>
enum RefusalReason
{
    None,

    /// <summary>
    /// The request is invalid. For example, the request is not a WebSocket handshake, or the group name is invalid.
    /// </summary>
    BadRequest,

    /// <summary>The origin of the page is not allowed.</summary>
    Origin,

    /// <summary>The node has reached its maximum number of connections.</summary>
    MaxConnections,

    /// <summary>The user has reached the maximum number of connections.</summary>
    MaxConnectionsPerUser,

    /// <summary>The IP address has reached the maximum number of connections.</summary>
    MaxConnectionsPerAddress,

    /// <summary>The registry refused the connection.</summary>
    Registry,

    /// <summary>The registry threw an exception.</summary>
    Failed,

    /// <summary>
    /// The reconnection token is invalid or expired. The server sends this error to the client after the handshake.
    /// </summary>
    Recovery,

    /// <summary>The cluster is unreachable, and this node does not have the group of the URL yet.</summary>
    ClusterUnreachable,

    /// <summary>The app is shutting down.</summary>
    ShuttingDown,
}
