using System.Net.WebSockets;

namespace Broadcast.Middleware;

/// <summary>A connection has ended.</summary>
public sealed class DisconnectContext : FilterContext
{
    internal DisconnectContext(Broadcaster broadcaster, Connection connection, WebSocketCloseStatus? status, Exception? exception)
        : base(broadcaster, connection)
    {
        Status = status;
        Exception = exception;
    }

    /// <summary>The close code of whichever side closed first; null if the connection broke without one.</summary>
    public WebSocketCloseStatus? Status { get; }

    /// <summary>What broke the connection: a lost peer, or frames that violate the protocol; null if it was closed.</summary>
    public Exception? Exception { get; }
}
