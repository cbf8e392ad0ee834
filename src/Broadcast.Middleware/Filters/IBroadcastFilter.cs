namespace Broadcast.Middleware;

/// <summary>
/// Runs around the events of connections, as middleware runs around requests. A filter can act before and after
/// <c>next</c>, change the context, or not call <c>next</c>. Implement the methods that you need.
/// </summary>
/// <remarks>
/// <para>
/// Each connect, message and disconnect has a service scope of its own, from which filters that are registered by type
/// come. So these filters can use scoped services. A filter that is registered as a delegate serves all connections at
/// the same time.
/// </para>
/// <para>
/// The calls for one connection never overlap. While a filter runs, the server reads nothing from that connection.
/// Other connections do not wait. An exception closes only the connection that it was thrown for, with code 1011.
/// </para>
/// <para>
/// A long-running filter should use <see cref="IBroadcastConnection.ConnectionAborted"/>. The host does not stop before
/// every filter has completed.
/// </para>
/// </remarks>
public interface IBroadcastFilter
{
    /// <summary>Runs when a client connects.</summary>
    /// <param name="context">The context.</param>
    /// <param name="next">
    /// Adds the connection to its home group. Without this call, the server closes the connection with 1008.
    /// </param>
    Task OnConnectAsync(ConnectContext context, FilterDelegate<ConnectContext> next) => next(context);

    /// <summary>Runs for each message of a client.</summary>
    /// <param name="context">The context.</param>
    /// <param name="next">Publishes the message. Without this call, the server drops the message.</param>
    Task OnMessageAsync(MessageContext context, FilterDelegate<MessageContext> next) => next(context);

    /// <summary>
    /// Runs after a connection that was in its home group has ended. The connection has already left all groups.
    /// </summary>
    /// <param name="context">The context.</param>
    /// <param name="next">Runs the next filter.</param>
    Task OnDisconnectAsync(DisconnectContext context, FilterDelegate<DisconnectContext> next) => next(context);
}
