using Broadcast.Middleware.Connections;
using Broadcast.Middleware.Publishing;

namespace Broadcast.Middleware.Filters;

/// <summary>
/// Runs the filters of an endpoint. The constructor composes the filters once. The last step opens the connection or
/// publishes the message.
/// </summary>
sealed class FilterPipeline
{
    readonly ConnectionManager _connections;
    readonly MessageRouter _router;
    readonly MessageValidator _validator;
    readonly FilterDelegate<ConnectContext> _onConnect;
    readonly FilterDelegate<MessageContext> _onMessage;
    readonly FilterDelegate<DisconnectContext> _onDisconnect;

    /// <param name="filters">The filters, in the order in which they run.</param>
    /// <param name="connections">Opens connections.</param>
    /// <param name="router">Publishes messages.</param>
    /// <param name="validator">Checks messages that a filter changed.</param>
    public FilterPipeline(
        IEnumerable<IBroadcastFilter> filters,
        ConnectionManager connections,
        MessageRouter router,
        MessageValidator validator)
    {
        _connections = connections;
        _router = router;
        _validator = validator;
        _onConnect = Open;
        _onMessage = Publish;
        _onDisconnect = static _ => Task.CompletedTask;
        foreach (var filter in filters.Reverse())
        {
            var (connect, message, disconnect) = (_onConnect, _onMessage, _onDisconnect);
            _onConnect = context => filter.OnConnectAsync(context, connect);
            _onMessage = context => filter.OnMessageAsync(context, message);
            _onDisconnect = context => filter.OnDisconnectAsync(context, disconnect);
        }
    }

    public Task OnConnectAsync(ConnectContext context) => RunAsync(context, _onConnect);

    public Task OnMessageAsync(MessageContext context) => RunAsync(context, _onMessage);

    public Task OnDisconnectAsync(DisconnectContext context) => RunAsync(context, _onDisconnect);

    /// <summary>
    /// Runs the filters, and then disposes the service scope. Without a scope, this method allocates nothing.
    /// </summary>
    static Task RunAsync<TContext>(TContext context, FilterDelegate<TContext> run) where TContext : FilterContext
    {
        Task running;
        try
        {
            running = run(context);
        }
        catch (Exception exception)
        {
            // A synchronous filter may throw after it has created the scope. This method must still dispose the scope.
            running = Task.FromException(exception);
        }

        return running.IsCompletedSuccessfully && !context.HasScope ? running : AwaitAsync(context, running);

        static async Task AwaitAsync(FilterContext context, Task running)
        {
            try
            {
                await running.ConfigureAwait(false);
            }
            finally
            {
                await context.DisposeScopeAsync().ConfigureAwait(false);
            }
        }
    }

    Task Open(ConnectContext context)
    {
        var opening = _connections.OpenAsync(context.OwnConnection, context.Replay);
        if (!opening.IsCompletedSuccessfully) return AwaitAsync(context, opening);
        context.Result = opening.Result;
        return Task.CompletedTask;

        static async Task AwaitAsync(ConnectContext context, ValueTask<JoinResult> opening) =>
            context.Result = await opening.ConfigureAwait(false);
    }

    Task Publish(MessageContext context)
    {
        if (context.Event is not null)
        {
            context.IsUnhandled = true;
            return Task.CompletedTask;
        }

        if (!context.IsUnchanged) _validator.ThrowIfInvalid(context.Message);
        var publishing = _router.PublishAsync(context.Outcome, context.Recipients, CancellationToken.None);
        if (!publishing.IsCompletedSuccessfully) return AwaitAsync(context, publishing);
        context.Result = publishing.Result;
        return Task.CompletedTask;

        static async Task AwaitAsync(MessageContext context, ValueTask<PublishResult> publishing) =>
            context.Result = await publishing.ConfigureAwait(false);
    }
}
