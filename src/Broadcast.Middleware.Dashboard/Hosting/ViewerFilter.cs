using Broadcast.Middleware.Dashboard.Requests;

namespace Broadcast.Middleware.Dashboard.Hosting;

/// <summary>
/// Handles the connections of the dashboard. The server measures while at least one viewer is connected. A message from
/// a viewer is a request, and only this viewer receives the answer.
/// </summary>
/// <param name="sampler">Measures the broadcast.</param>
/// <param name="handler">Answers requests.</param>
/// <param name="hello">Creates the first message to a viewer.</param>
sealed class ViewerFilter(Sampler sampler, RequestHandler handler, HelloFactory hello) : IBroadcastFilter
{
    public async Task OnConnectAsync(ConnectContext context, FilterDelegate<ConnectContext> next)
    {
        await next(context);
        // A disconnect filter runs only for a connection that has joined its home group.
        if (context.Result.Joined) await context.ReplyAsync(hello.Create(sampler.AddViewer()));
    }

    public async Task OnMessageAsync(MessageContext context, FilterDelegate<MessageContext> next)
    {
        var viewer = context.Connection.UserId ?? context.Connection.RemoteAddress?.ToString() ?? "unknown";
        var answer = await handler.HandleAsync(context.Message, viewer, context.Connection.ConnectionAborted);
        await context.ReplyAsync(answer);
    }

    public Task OnDisconnectAsync(DisconnectContext context, FilterDelegate<DisconnectContext> next)
    {
        sampler.RemoveViewer();
        return next(context);
    }
}
