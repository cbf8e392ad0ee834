using Broadcast.Middleware;

namespace WebDemo;

/// <summary>
/// Stores the display name of each connection for later filters, and in the presence state of the connection.
/// </summary>
sealed class DisplayNameFilter(IPresence presence) : IBroadcastFilter
{
    public async Task OnConnectAsync(ConnectContext context, FilterDelegate<ConnectContext> next)
    {
        DisplayName.Set(context);
        await next(context);
        if (!context.Result.Joined) return;
        var connection = context.Connection;
        await presence.SetStateAsync(connection.Id, connection.HomeGroup, new Person(DisplayName.Get(connection)), DemoJson.Default.Person);
    }
}
