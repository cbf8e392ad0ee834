namespace Broadcast.Middleware.Connections;

/// <summary>The states of a <see cref="ReconnectSession"/>.</summary>
enum ReconnectState
{
    /// <summary>A request serves the connection.</summary>
    Connected,

    /// <summary>A request serves the connection, and another request has claimed it.</summary>
    Claimed,

    /// <summary>The transport is gone. The connection waits for a claim.</summary>
    Disconnected,

    /// <summary>The new request takes over the connection from the old request.</summary>
    TakingOver,

    /// <summary>A request takes over the connection, and a further request has claimed it.</summary>
    TakingOverClaimed,

    /// <summary>No client can reconnect any more.</summary>
    Ended,
}
