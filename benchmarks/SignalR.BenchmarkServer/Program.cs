using Microsoft.AspNetCore.SignalR;

// A chat hub of SignalR, with the protocols JSON and MessagePack. /ws?group=7 joins the group 7.
var builder = WebApplication.CreateBuilder(new WebApplicationOptions { Args = args, ContentRootPath = AppContext.BaseDirectory });
builder.Services.AddSignalR(options =>
{
    options.MaximumReceiveMessageSize = 64 * 1024;
    // The load generator sends no pings of SignalR.
    options.ClientTimeoutInterval = TimeSpan.FromMinutes(5);
}).AddMessagePackProtocol();

var app = builder.Build();
app.MapHub<ChatHub>("/ws");

// The load generator measures memory, calls this URL, and measures memory again.
app.MapGet("/collect", () =>
{
    GC.Collect(GC.MaxGeneration, GCCollectionMode.Aggressive, blocking: true, compacting: true);
    GC.WaitForPendingFinalizers();
    GC.Collect(GC.MaxGeneration, GCCollectionMode.Aggressive, blocking: true, compacting: true);
    return TypedResults.Text("");
});

app.Run();

sealed class ChatHub : Hub
{
    string? Group => Context.GetHttpContext()!.Request.Query["group"];

    public override async Task OnConnectedAsync()
    {
        if (Group is { } group) await Groups.AddToGroupAsync(Context.ConnectionId, group);
    }

    public Task Send(string text) => (Group is { } group ? Clients.Group(group) : Clients.All).SendAsync("Send", text);
}
