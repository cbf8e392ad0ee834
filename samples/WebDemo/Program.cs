var builder = WebApplication.CreateBuilder(args);
builder.Services.AddBroadcast(builder.Configuration.GetSection("Broadcast"));

var app = builder.Build();
app.MapBroadcast("/ws");
app.Run();
