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
        context.Result = Broadcaster.Attach((Connection)context.Connection, context.Replay);
        return Task.CompletedTask;
    }

    Task Publish(MessageContext context)
    {
        if (context.Event is not null)
        {
            context.IsUnhandled = true;
            return Task.CompletedTask;
        }

        if (context.IsAsReceived)
        {
            context.Result = _broadcaster.Publish(context.Outcome, context.Recipients);
            return Task.CompletedTask;
        }

        var publishing = _broadcaster.PublishAsync(context.Outcome, context.Recipients, CancellationToken.None);
        if (!publishing.IsCompletedSuccessfully) return Await(context, publishing);
        context.Result = publishing.Result;
        return Task.CompletedTask;

        static async Task Await(MessageContext context, ValueTask<PublishResult> publishing) => context.Result = await publishing.ConfigureAwait(false);
    }
}
