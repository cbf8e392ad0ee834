using Broadcast.Middleware;

namespace WebDemo;

/// <summary>
/// Sends the connection ID to a page that connects with ?you, for example "you kX3v…". Other clients receive only the
/// messages of the group.
/// </summary>
sealed class ConnectionIdFilter : IBroadcastFilter
{
    public async Task OnConnectAsync(ConnectContext context, FilterDelegate<ConnectContext> next)
    {
        await next(context);
        var isPage = context.HttpContext.Request.Query.ContainsKey("you");
        if (isPage && context.Result.Joined) await context.ReplyAsync($"you {context.Connection.Id}");
    }
}
