using System.Net.WebSockets;
using Broadcast.Middleware;
using WebDemo;

// The settings and pages stand beside the program, wherever it is started from.
var builder = WebApplication.CreateBuilder(new WebApplicationOptions { Args = args, ContentRootPath = AppContext.BaseDirectory });
builder.WebHost.ConfigureKestrel(kestrel => kestrel.ConfigureEndpointDefaults(listen => listen.UseInlineSends()));
builder.Services.AddBroadcast(builder.Configuration.GetSection("Broadcast"));

var app = builder.Build();
app.UseFileServer();

// What one sends, all receive; in each room, those who are in it.
app.MapBroadcast("/ws");
app.MapBroadcast("/rooms/{room}");

// One filter makes a different server of it: text comes back to all as "Message: …", and nothing but text is taken.
app.MapBroadcast("/seed").Use((context, next) =>
{
    if (context.Message.Type != MessageType.Text)
    {
        context.Close(WebSocketCloseStatus.InvalidMessageType, "This URL takes text messages only.");
        return Task.CompletedTask;
    }

    context.Text = $"Message: {context.Text}";
    return next(context);
});

// The rest of an app reaches the clients too, from outside any socket.
app.MapPost("/publish", PublishEndpoint.PublishAsync).WithMetadata(PublishEndpoint.OwnSizeLimit);
app.MapGet("/count", (IConnectionRegistry connections, string? group) =>
    TypedResults.Json(new CountAnswer(group is null ? connections.Count : connections.CountInGroup(group)), DemoJson.Default.CountAnswer));

app.Run();
