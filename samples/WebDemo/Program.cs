using System.Net.WebSockets;
using Broadcast.Middleware;
using WebDemo;

// The settings and pages stand beside the program, wherever it is started from.
var builder = WebApplication.CreateBuilder(new WebApplicationOptions { Args = args, ContentRootPath = AppContext.BaseDirectory });
builder.WebHost.ConfigureKestrel(kestrel => kestrel.ConfigureEndpointDefaults(listen => listen.UseInlineSends()));
var settings = builder.Configuration.GetSection("Broadcast");
IBroadcastBuilder[] broadcasts = [builder.Services.AddBroadcast(settings), builder.Services.AddBroadcast(PresenceFilter.Broadcast)];
var health = builder.Services.AddHealthChecks();
// With --Broadcast:Redis:Configuration=localhost:6379 this is one of several nodes.
if (settings.GetSection("Redis") is var redis && redis.Exists())
{
    foreach (var broadcast in broadcasts)
        broadcast.AddRedis(redis, options => options.Prefix = string.IsNullOrEmpty(options.Prefix) ? "webdemo" : options.Prefix);
    health.AddBroadcastRedis();
}

// Of several nodes, one makes the prices.
if (builder.Configuration.GetValue("Prices", true)) builder.Services.AddHostedService<PriceFeed>();
builder.Services.AddSingleton<IGroupAuthorizer, OpenGroups>();

var app = builder.Build();
app.UseFileServer();

// What one sends, all receive; in each room, those who are in it. What rooms keep for those who come later, appsettings.json says.
app.MapBroadcast("/ws");
app.MapBroadcast("/rooms/{room}").Use<VisitorFilter>().UseConnect(async (context, next) =>
{
    await next(context);
    // Who asks with ?mark=… is sent that word where the history ends and the present begins. To all others, a room is nothing but chat.
    if (context.Result.Joined && context.Connection.HttpContext.Request.Query["mark"] is [{ Length: > 0 and <= 32 } mark]) await context.ReplyAsync(mark);
});

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

// The app speaks, all listen.
app.MapBroadcast(PriceFeed.Group).Use((context, _) =>
{
    context.Close(WebSocketCloseStatus.PolicyViolation, "This URL is for listening.");
    return Task.CompletedTask;
});

// A protocol of its own: a filter reads what clients send, and makes of it what all receive.
app.MapBroadcast("/board").Use<VisitorFilter>().Use<BoardFilter>();

// Who is there: each has a URL of its own, in a broadcast of its own, so that its members count nowhere and hear nothing else.
app.MapBroadcast("/rooms/{room}/presence", PresenceFilter.Broadcast).Use<PresenceFilter>();
app.MapBroadcast("/board/presence", PresenceFilter.Broadcast).Use<PresenceFilter>();

// The rest of an app reaches the clients too, from outside any socket.
app.MapPost("/publish", PublishEndpoint.PublishAsync).WithMetadata(PublishEndpoint.OwnSizeLimit);
app.MapGet("/count", (IConnectionRegistry connections, string? group) =>
    TypedResults.Json(new CountAnswer(group is null ? connections.Count : connections.CountGroupMembers(group)), DemoJson.Default.CountAnswer));

app.MapHealthChecks("/health");

app.Run();
