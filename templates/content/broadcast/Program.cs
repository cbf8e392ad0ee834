var builder = WebApplication.CreateBuilder(args);
builder.Services.AddBroadcast();

var app = builder.Build();
app.UseFileServer();        // the page: wwwroot/index.html
app.MapBroadcast("/ws");    // all clients of this URL receive each other's messages
app.Run();
