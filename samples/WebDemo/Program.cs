// The settings and pages stand beside the program, wherever it is started from.
var builder = WebApplication.CreateBuilder(new WebApplicationOptions { Args = args, ContentRootPath = AppContext.BaseDirectory });
builder.Services.AddBroadcast(builder.Configuration.GetSection("Broadcast"));

var app = builder.Build();
app.MapBroadcast("/ws");
app.Run();
