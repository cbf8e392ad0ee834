using System.Diagnostics;
using Broadcast.Middleware.Connections;
using Broadcast.Middleware.Diagnostics;
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
    readonly BroadcastTracing _tracing;
    readonly string _template;
    readonly string _spanName;
    readonly FilterDelegate<ConnectContext> _onConnect;
    readonly FilterDelegate<MessageContext> _onMessage;
    readonly FilterDelegate<DisconnectContext> _onDisconnect;

    /// <param name="filters">The filters, in the order in which they run.</param>
    /// <param name="connections">Opens connections.</param>
    /// <param name="router">Publishes messages.</param>
    /// <param name="validator">Checks messages that a filter changed.</param>
    /// <param name="tracing">Creates a span for each message.</param>
    /// <param name="template">The route pattern of the endpoint.</param>
    public FilterPipeline(
        IEnumerable<IBroadcastFilter> filters,
        ConnectionManager connections,
        MessageRouter router,
        MessageValidator validator,
        BroadcastTracing tracing,
        string template)
    {
        _connections = connections;
        _router = router;
        _validator = validator;
        _tracing = tracing;
        _template = template;
        _spanName = $"process {template}";
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

    public Task OnMessageAsync(MessageContext context) =>
        _tracing.IsActive ? RunInSpanAsync(context) : RunAsync(context, _onMessage);

    public Task OnDisconnectAsync(DisconnectContext context) => RunAsync(context, _onDisconnect);

    /// <summary>
    /// Runs the filters, and then disposes the service scope. If the filters complete synchronously and use no scope,
    /// this method allocates nothing.
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

    /// <summary>
    /// Runs the message filters in a span. The server calls this method only while a listener exists.
    /// </summary>
    async Task RunInSpanAsync(MessageContext context)
    {
        using var span = _tracing.StartMessage(
            _spanName, _template, context.Connection, context.Connection.Id, context.Message.Payload.Length);
        try
        {
            await RunAsync(context, _onMessage).ConfigureAwait(false);
            if (span is not null) SetOutcome(span, context);
        }
        catch (Exception exception)
        {
            BroadcastTracing.SetFailed(span, exception);
            throw;
        }
    }

    static void SetOutcome(Activity span, MessageContext context)
    {
        if (context.IsPublished)
        {
            PublishSpan.SetRecipients(span, context.Recipients, context.Message.Id);
            PublishSpan.SetResult(span, context.Result);
        }
        else if (context.Event is null) BroadcastTracing.SetOutcome(span, "dropped");
        else BroadcastTracing.SetOutcome(span, context.IsUnhandled ? "unhandled" : "handled");
    }

    Task Open(ConnectContext context)
    {
        var opening = _connections.OpenAsync(context.OwnConnection, context.Replay, context.Filter);
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

        if (context.HasReceivedPayload) MessageValidator.ThrowIfMetadataInvalid(context.Message);
        else _validator.ThrowIfInvalid(context.Message);
        var publishing = _router.PublishAsync(context.Outcome, context.Recipients, CancellationToken.None);
        if (!publishing.IsCompletedSuccessfully) return AwaitAsync(context, publishing);
        context.OnPublished(publishing.Result);
        return Task.CompletedTask;

        static async Task AwaitAsync(MessageContext context, ValueTask<PublishResult> publishing) =>
            context.OnPublished(await publishing.ConfigureAwait(false));
    }
}
