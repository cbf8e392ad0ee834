namespace Broadcast.Middleware.Filters;

/// <summary>
/// A filter that runs a delegate. The app passes the delegate to <c>Use</c>, <c>UseConnect</c> and
/// <c>UseDisconnect</c>.
/// </summary>
sealed class DelegateFilter : IBroadcastFilter
{
    public Func<ConnectContext, FilterDelegate<ConnectContext>, Task>? Connect { get; init; }
    public Func<MessageContext, FilterDelegate<MessageContext>, Task>? Message { get; init; }
    public Func<DisconnectContext, FilterDelegate<DisconnectContext>, Task>? Disconnect { get; init; }

    public Task OnConnectAsync(ConnectContext context, FilterDelegate<ConnectContext> next) =>
        Connect is { } connect ? connect(context, next) : next(context);

    public Task OnMessageAsync(MessageContext context, FilterDelegate<MessageContext> next) =>
        Message is { } message ? message(context, next) : next(context);

    public Task OnDisconnectAsync(DisconnectContext context, FilterDelegate<DisconnectContext> next) =>
        Disconnect is { } disconnect ? disconnect(context, next) : next(context);
}
