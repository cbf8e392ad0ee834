using System.Net.WebSockets;
using Microsoft.AspNetCore.Builder;
using Microsoft.AspNetCore.Http;
using Microsoft.AspNetCore.SignalR;
using Microsoft.Extensions.DependencyInjection;

namespace Broadcast.Middleware.Tests.Documentation;

/// <summary>Contains the code of the pages in docs/migrate, before and after each migration.</summary>
static class MigrationSnippets
{
    public static void SignalRBefore(WebApplicationBuilder builder, WebApplication app)
    {
        builder.Services.AddSignalR();
        app.MapHub<ChatHub>("/chat");
        app.MapPost("/news", (string text, IHubContext<ChatHub> hub) => hub.Clients.All.SendAsync("news", text));
    }

    public static void After(WebApplicationBuilder builder, WebApplication app)
    {
        builder.Services.AddBroadcast();
        app.MapBroadcast("/chat/{room}").Use((context, next) =>
        {
            context.ExcludeSender();
            return next(context);
        });
        app.MapPost("/news", async (string text, IBroadcaster broadcaster) =>
            await broadcaster.PublishAsync(new { news = text }, Recipients.Everyone));
    }

    public static void RawBefore(WebApplication app)
    {
        var sockets = new System.Collections.Concurrent.ConcurrentDictionary<WebSocket, SemaphoreSlim>();
        app.UseWebSockets();
        app.Map("/ws", async (HttpContext context) =>
        {
            using var socket = await context.WebSockets.AcceptWebSocketAsync();
            sockets[socket] = new SemaphoreSlim(1);
            var buffer = new byte[4096];
            try
            {
                while (await socket.ReceiveAsync(buffer, default) is { MessageType: not WebSocketMessageType.Close } received)
                {
                    foreach (var (other, gate) in sockets)
                    {
                        await gate.WaitAsync();      // two sends at the same time throw an exception
                        try
                        {
                            await other.SendAsync(buffer.AsMemory(0, received.Count), received.MessageType, received.EndOfMessage, default);
                        }
                        finally
                        {
                            gate.Release();
                        }
                    }
                }
            }
            finally
            {
                sockets.TryRemove(socket, out _);
            }
        });
    }

    public static void RawAfter(WebApplicationBuilder builder, WebApplication app)
    {
        builder.Services.AddBroadcast();
        app.MapBroadcast("/ws");
    }

    public static void FastApiAfter(WebApplication app)
    {
        app.MapBroadcast("/ws")
            .UseConnect((context, next) =>
            {
                context.Connection.Items["client"] = context.HttpContext.Request.Query["client"].ToString();
                return next(context);
            })
            .Use((context, next) =>
            {
                context.Text = $"Client #{context.Connection.Items["client"]} says: {context.Text}";
                return next(context);
            })
            .UseDisconnect(async (context, next) =>
            {
                await next(context);
                await context.Broadcaster.PublishAsync($"Client #{context.Connection.Items["client"]} left the chat", Recipients.Group("/ws"));
            });
    }
}

sealed class ChatHub : Hub
{
    public Task Join(string room) => Groups.AddToGroupAsync(Context.ConnectionId, room);

    public Task Send(string room, string text) => Clients.OthersInGroup(room).SendAsync("message", text);
}
