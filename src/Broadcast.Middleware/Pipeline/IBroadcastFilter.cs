namespace Broadcast.Middleware;

/// <summary>
/// Stands around what happens on connections, as middleware does around requests: it acts before and after <c>next</c>, changes
/// what the context holds, or leaves <c>next</c> out. Implement the methods you need.
/// </summary>
/// <remarks>
/// A filter is made once for each endpoint and serves all its connections at the same time. The calls for one connection come one
/// after the other; while one is under way, no more is read from that connection, and nobody else waits. An exception ends the
/// connection it was thrown for, with close code 1011, and no other. What may wait for long should watch
/// <c>Connection.HttpContext.RequestAborted</c>: the host does not stop before a filter has ended.
/// </remarks>
public interface IBroadcastFilter
{
    /// <summary>Around a connection's start. After <paramref name="next"/> it hears its group. Without it, it is closed with 1008.</summary>
    Task OnConnectAsync(ConnectContext context, FilterDelegate<ConnectContext> next) => next(context);

    /// <summary>Around each message a connection sends. <paramref name="next"/> publishes it. Without it, nobody hears it.</summary>
    Task OnMessageAsync(MessageContext context, FilterDelegate<MessageContext> next) => next(context);

    /// <summary>
    /// Around a connection's end, for each connection that was let into its group. It has left its groups already, so that no
    /// filter can keep a dead connection among the living.
    /// </summary>
    Task OnDisconnectAsync(DisconnectContext context, FilterDelegate<DisconnectContext> next) => next(context);
}
