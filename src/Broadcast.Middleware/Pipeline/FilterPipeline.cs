namespace Broadcast.Middleware;

/// <summary>An endpoint's filters, composed once, and what they stand around.</summary>
sealed class FilterPipeline
{
    readonly Broadcaster _broadcaster;

    public FilterPipeline(Broadcaster broadcaster, IEnumerable<IBroadcastFilter> filters)
    {
        _broadcaster = broadcaster;
        OnConnect = Attach;
        OnMessage = Publish;
        OnDisconnect = static _ => Task.CompletedTask;
        foreach (var filter in filters.Reverse())
        {
            var (connect, message, disconnect) = (OnConnect, OnMessage, OnDisconnect);
            OnConnect = context => filter.OnConnectAsync(context, connect);
            OnMessage = context => filter.OnMessageAsync(context, message);
            OnDisconnect = context => filter.OnDisconnectAsync(context, disconnect);
        }
    }

    public FilterDelegate<ConnectContext> OnConnect { get; }
    public FilterDelegate<MessageContext> OnMessage { get; }
    public FilterDelegate<DisconnectContext> OnDisconnect { get; }

    static Task Attach(ConnectContext context)
    {
        var attaching = Broadcaster.AttachAsync((Connection)context.Connection, context.Replay);
        if (!attaching.IsCompletedSuccessfully) return Await(context, attaching);
        context.Result = attaching.Result;
        return Task.CompletedTask;

        static async Task Await(ConnectContext context, ValueTask<JoinResult> attaching) => context.Result = await attaching.ConfigureAwait(false);
    }

    Task Publish(MessageContext context)
    {
        if (context.Event is not null)
        {
            context.IsUnhandled = true;
            return Task.CompletedTask;
        }

        var publishing = context.IsAsReceived
            ? _broadcaster.PublishCheckedAsync(context.Outcome, context.Recipients)
            : _broadcaster.PublishAsync(context.Outcome, context.Recipients, CancellationToken.None);
        if (!publishing.IsCompletedSuccessfully) return Await(context, publishing);
        context.Result = publishing.Result;
        return Task.CompletedTask;

        static async Task Await(MessageContext context, ValueTask<PublishResult> publishing) => context.Result = await publishing.ConfigureAwait(false);
    }
}
