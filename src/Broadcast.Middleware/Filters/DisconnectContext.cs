using System.Net.WebSockets;
using Broadcast.Middleware.Connections;
using Broadcast.Middleware.Filters;

namespace Broadcast.Middleware;

/// <summary>The context of a disconnect filter. The connection has ended and has left all groups.</summary>
public sealed class DisconnectContext : FilterContext
{
    /// <summary>Creates a context for a unit test of a filter.</summary>
    /// <param name="connection">The connection.</param>
    /// <param name="broadcaster">The broadcaster.</param>
    /// <param name="status">See <see cref="Status"/>.</param>
    /// <param name="exception">See <see cref="Exception"/>.</param>
    /// <param name="services">The services. Null if the filter uses none.</param>
    public DisconnectContext(
        IBroadcastConnection connection,
        IBroadcaster broadcaster,
        WebSocketCloseStatus? status = null,
        Exception? exception = null,
        IServiceProvider? services = null)
        : base(connection, broadcaster, services) => (Status, Exception) = (status, exception);

    internal DisconnectContext(
        Connection connection, FilterActions actions, WebSocketCloseStatus? status, Exception? exception)
        : base(connection, actions) => (Status, Exception) = (status, exception);

    /// <summary>
    /// The close code of the side that closed first. The value is 1005 if the close frame contains no code. Null if the
    /// client disconnected without a close frame.
    /// </summary>
    public WebSocketCloseStatus? Status { get; }

    /// <summary>
    /// The error that ended the connection, for example a lost transport or a protocol violation. Null if the
    /// connection ended without an error.
    /// </summary>
    public Exception? Exception { get; }
}
