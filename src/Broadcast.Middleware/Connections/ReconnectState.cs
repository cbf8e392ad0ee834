namespace Broadcast.Middleware.Connections;

/// <summary>The states of a <see cref="ReconnectSession"/>.</summary>
enum ReconnectState
{
    /// <summary>A request serves the connection.</summary>
    Connected,

    /// <summary>A request serves the connection, and another request has claimed the connection.</summary>
    Claimed,

    /// <summary>The transport is gone. The connection waits for a claim.</summary>
    Disconnected,

    /// <summary>The new request takes over the connection from the old request.</summary>
    TakingOver,

    /// <summary>A request takes over the connection, and a third request has claimed the connection.</summary>
    TakingOverClaimed,

    /// <summary>The client can no longer reconnect.</summary>
    Ended,
}
