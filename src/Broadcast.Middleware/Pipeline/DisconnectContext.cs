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

    /// <summary>
    /// The close code the peer sent, first or in answer (1005 if its close frame had none); else the one it was sent; null if the
    /// connection broke without any.
    /// </summary>
    public WebSocketCloseStatus? Status { get; }

    /// <summary>What broke the connection: a lost peer, one that did not answer a close frame, or frames that violate the protocol; else null.</summary>
    public Exception? Exception { get; }
}
