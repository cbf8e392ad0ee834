using System.Net.WebSockets;
using Broadcast.Middleware;
using WebDemo;

// The settings and pages are next to the program, so the demo can start from any directory.
var builder = WebApplication.CreateBuilder(new WebApplicationOptions { Args = args, ContentRootPath = AppContext.BaseDirectory });
var settings = builder.Configuration.GetSection("Broadcast");
IBroadcastBuilder[] broadcasts = [builder.Services.AddBroadcast(settings), builder.Services.AddBroadcast(Members.BroadcastName, settings)];
var health = builder.Services.AddHealthChecks();
PhoneLink.Listen(builder);
Members.Add(builder.Services);

// With --Broadcast:Redis:Configuration=localhost:6379, the demo is one node of a cluster.
if (settings.GetSection("Redis") is var redis && redis.Exists())
{
    foreach (var broadcast in broadcasts)
        broadcast.AddRedis(redis, options => options.Prefix = string.IsNullOrEmpty(options.Prefix) ? "webdemo" : options.Prefix);
    health.AddBroadcastRedis();
}

// In a cluster, only one node publishes prices. Start the other nodes with --Prices=false.
if (builder.Configuration.GetValue("Prices", true)) builder.Services.AddHostedService<Prices>();
builder.Services.AddSingleton<IGroupAuthorizer, DemoGroupAuthorizer>();

// Each node has its own figures, game and load. So these pages use a third broadcast, which never uses Redis.
builder.Services.AddBroadcast(LocalBroadcast.Name, builder.Configuration.GetSection("Local"));
builder.Services.AddSingleton<PhoneLink>().AddSingleton<Game>().AddSingleton<Load>().AddHostedService<StartPage>()
    .AddHostedService(services => services.GetRequiredService<Game>())
    .AddHostedService(services => services.GetRequiredService<Load>());

// The HTTP endpoints serialize JSON without reflection.
builder.Services.ConfigureHttpJsonOptions(options => options.SerializerOptions.TypeInfoResolverChain.Insert(0, DemoJson.Default));

// With --OTEL_EXPORTER_OTLP_ENDPOINT=http://localhost:4317, the demo sends metrics and traces to a collector.
builder.AddTelemetry();

var app = builder.Build();
app.UseFileServer();

// A relay: every client at /ws receives every message. The sender also receives its own messages.
app.MapBroadcast("/ws");

#region chat
// Chat rooms: each room is a separate group. appsettings.json sets the number of messages that a room keeps.
// The page receives its connection ID, so it knows its own entry in the list of people.
app.MapBroadcast("/rooms/{room}").Use<DisplayNameFilter>().Use<ConnectionIdFilter>();

// Presence: this URL shows the people in a room, and each change.
app.MapBroadcastPresence("/rooms/{room}/presence", "/rooms/{room}", Person.From, DemoJson.Default.Person);
#endregion

// A reader inside the app: this endpoint reads a room and sends its statistics.
app.MapGet("/rooms/{room}/statistics", RoomStatistics.Get);

// A message filter: /seed accepts text only and publishes it as "Message: …".
app.MapBroadcast("/seed").Use((context, next) =>
{
    if (context.Message.Type != MessageType.Text)
    {
        context.Close(WebSocketCloseStatus.InvalidMessageType, "This URL accepts text messages only.");
        return Task.CompletedTask;
    }

    context.Text = $"Message: {context.Text}";
    return next(context);
});

// A read-only feed: the app publishes, and clients only receive. A client may choose a filter: /prices?filter=market=north
app.MapBroadcast("/prices", options => options.AllowClientFilters = true).Use((context, _) =>
{
    context.Close(WebSocketCloseStatus.PolicyViolation, "This URL is read-only. Do not send messages.");
    return Task.CompletedTask;
});

// HTTP endpoints: these endpoints publish a message and return the number of connections.
app.MapPost("/publish", PublishEndpoint.PublishAsync).WithMetadata(PublishEndpoint.NoServerSizeLimit);
app.MapGet("/count", (IConnectionRegistry connections, string? group) => TypedResults.Json(
    new CountResponse(group is null ? connections.Count : connections.CountGroupMembers(group)), DemoJson.Default.CountResponse));

// Each of these pages has its own file in the folder Pages.
StartPage.Map(app);
app.Services.GetRequiredService<PhoneLink>().Map(app);
app.Services.GetRequiredService<Game>().Map(app);
app.Services.GetRequiredService<Load>().Map(app);
Typing.Map(app);
Prices.Map(app);
Board.Map(app);
Sensors.Map(app);
Members.Map(app);

app.MapHealthChecks("/health");

// The dashboard shows the default broadcast. The dashboard answers only requests from this computer, and only with
// --environment=Development. In a real app, add RequireAuthorization.
app.MapBroadcastDashboard("/broadcast");

app.Run();
