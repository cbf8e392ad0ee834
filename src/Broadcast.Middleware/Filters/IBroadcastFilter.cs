namespace Broadcast.Middleware;

/// <summary>
/// Runs code of the app when a client connects, sends a message or disconnects, as middleware does for HTTP requests. A
/// filter can act before and after <c>next</c>, change the context, or skip <c>next</c>. Implement the methods that you
/// need.
/// </summary>
/// <remarks>
/// <para>
/// Each event (a connect, a message or a disconnect) has its own service scope. If you add a filter class, the server
/// gets the filter from this scope, so the filter can use scoped services. If you add a delegate, the delegate runs for
/// all connections, so several calls of the delegate can run at the same time.
/// </para>
/// <para>
/// The calls for one connection never overlap. While a filter runs, the server handles no other message of that
/// connection. Other connections do not wait for the filter. If a filter throws an exception, the server closes only
/// the affected connection, with close code 1011.
/// </para>
/// <para>
/// Stop a long-running filter when <see cref="IBroadcastConnection.ConnectionAborted"/> is canceled. Otherwise the
/// filter delays the shutdown of the host.
/// </para>
/// </remarks>
public interface IBroadcastFilter
{
    /// <summary>Runs when a client connects.</summary>
    /// <param name="context">The context.</param>
    /// <param name="next">
    /// Adds the connection to its home group. Without this call, the server closes the connection with close code 1008.
    /// </param>
    Task OnConnectAsync(ConnectContext context, FilterDelegate<ConnectContext> next) => next(context);

    /// <summary>Runs for each message from a client.</summary>
    /// <param name="context">The context.</param>
    /// <param name="next">Publishes the message. Without this call, the server drops the message.</param>
    Task OnMessageAsync(MessageContext context, FilterDelegate<MessageContext> next) => next(context);

    /// <summary>
    /// Runs after the end of a connection that had joined its home group. The connection has already left all groups.
    /// </summary>
    /// <param name="context">The context.</param>
    /// <param name="next">Runs the next filter.</param>
    Task OnDisconnectAsync(DisconnectContext context, FilterDelegate<DisconnectContext> next) => next(context);
}
