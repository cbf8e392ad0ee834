using Broadcast.Middleware;

// The server under test. The section "Broadcast" sets BroadcastOptions, the section "Server" sets BroadcastServerOptions, and the
// section "Kestrel" sets endpoints. Example: --Server:HandsOverConnections=false
var builder = WebApplication.CreateBuilder(new WebApplicationOptions { Args = args, ContentRootPath = AppContext.BaseDirectory });
builder.Services.AddBroadcast(builder.Configuration.GetSection("Broadcast"));
builder.Services.Configure<BroadcastServerOptions>(builder.Configuration.GetSection("Server"));

var app = builder.Build();
app.MapBroadcast("/ws");
app.MapBroadcast("/rooms/{room}");
if (app.Environment.IsDevelopment()) app.MapBroadcastDashboard("/broadcast");

// The load generator measures memory, calls this URL, and measures memory again.
app.MapGet("/collect", () =>
{
    GC.Collect(GC.MaxGeneration, GCCollectionMode.Aggressive, blocking: true, compacting: true);
    GC.WaitForPendingFinalizers();
    GC.Collect(GC.MaxGeneration, GCCollectionMode.Aggressive, blocking: true, compacting: true);
    return TypedResults.Text("");
});

app.Run();
