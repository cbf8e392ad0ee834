using System.Net;
using System.Net.WebSockets;
using Broadcast.Middleware;

namespace WebDemo;

/// <summary>Accepts only clients on the computer of the server, at a URL such as http://localhost:5000.</summary>
/// <remarks>The filter also checks the host name, because the requests of a reverse proxy come from a loopback address.</remarks>
sealed class LocalOnlyFilter : IBroadcastFilter
{
    public Task OnConnectAsync(ConnectContext context, FilterDelegate<ConnectContext> next)
    {
        var isLocal = IPAddress.IsLoopback(context.Connection.RemoteAddress ?? IPAddress.None)
            && context.HttpContext.Request.Host.Host is "localhost" or "127.0.0.1" or "[::1]";
        if (isLocal) return next(context);
        context.Close(WebSocketCloseStatus.PolicyViolation, "This page works only on the computer of the server, at http://localhost.");
        return Task.CompletedTask;
    }
}
