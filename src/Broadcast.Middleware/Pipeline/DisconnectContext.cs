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

    /// <summary>The close code of whichever side closed first, 1005 for a close frame without one; null if the connection just broke.</summary>
    public WebSocketCloseStatus? Status { get; }

    /// <summary>What broke the connection: a lost peer, one that did not answer a close frame, or frames that violate the protocol; else null.</summary>
    public Exception? Exception { get; }
}
