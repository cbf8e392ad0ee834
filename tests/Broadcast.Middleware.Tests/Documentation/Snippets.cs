using Microsoft.AspNetCore.Builder;
using Microsoft.Extensions.DependencyInjection;

namespace Broadcast.Middleware.Tests.Documentation;

/// <summary>
/// Contains C# code of the README and of the documents, so that the compiler checks the code. <see cref="SnippetTests"/>
/// compares the documents with the files of this folder.
/// </summary>
static class Snippets
{
    public static void Start(string[] args)
    {
        var builder = WebApplication.CreateBuilder(args);
        builder.Services.AddBroadcast();
        var app = builder.Build();
        app.MapBroadcast("/ws");
        app.UseFileServer();
        app.Run();
    }

    public static void Groups(WebApplication app)
    {
        app.MapBroadcast("/rooms/{room}").RequireAuthorization();
        app.MapPost("/news", (string text, IBroadcaster broadcaster) => broadcaster.PublishAsync(text, Recipients.Group("/rooms/blue")));
    }

    public static void Quickstart(WebApplication app)
    {
        app.MapPost("/news", (string text, IBroadcaster broadcaster) => broadcaster.PublishAsync(text, Recipients.Group("/ws")));
    }

    public static void Publish(WebApplication app)
    {
        app.MapPost("/news", async (string headline, IBroadcaster broadcaster) =>
        {
            await broadcaster.PublishAsync(headline, Recipients.Everyone);                            // to every connection, at every URL
            await broadcaster.PublishAsync(headline, Recipients.Group("/rooms/blue"));                // to the members of a group
            await broadcaster.PublishAsync(headline, Recipients.Groups("/rooms/blue", "/rooms/red")); // to several groups, once to each member
            await broadcaster.PublishAsync(headline, Recipients.User("ann"));                         // to all devices of a user
            await broadcaster.PublishAsync(new byte[] { 1, 2, 3 }, Recipients.Everyone);              // bytes, as a binary message
            var result = await broadcaster.PublishAsync(new { headline }, Recipients.Everyone);       // any value, as JSON
            return $"sent to {result.LocalRecipients} connections";
        });
    }

    public static void Filters(WebApplication app)
    {
        app.MapBroadcast("/chat")
            .UseConnect(async (context, next) =>
            {
                if (context.HttpContext.Request.Query["name"] is not [{ Length: > 0 } name]) return;    // refused with 1008
                context.Connection.Items["name"] = name;
                await next(context);                                                                    // joins the group of the URL
                await context.JoinAsync("/announcements");                                              // joins another group
                await context.ReplyAsync("welcome");                                                    // to this client only
            })
            .Use((context, next) =>
            {
                if (context.Message.Type != MessageType.Text) return Task.CompletedTask;                // dropped
                context.Text = $"{context.Connection.Items["name"]}: {context.Text}";                   // changed
                return next(context);                                                                   // published
            });
    }

    sealed class AuditFilter(AuditLog log) : IBroadcastFilter
    {
        public async Task OnMessageAsync(MessageContext context, FilterDelegate<MessageContext> next)
        {
            await next(context);
            await log.AddAsync(context.Connection.UserId, context.Text);
        }
    }

    public static void FilterClass(WebApplicationBuilder builder, WebApplication app)
    {
        builder.Services.AddScoped<AuditLog>();
        builder.Services.AddBroadcast().Use<AuditFilter>();   // for all endpoints
        app.MapBroadcast("/orders").Use<AuditFilter>();       // for one endpoint
    }

    public static void History(WebApplicationBuilder builder)
    {
        builder.Services.AddBroadcast(options => options.Groups["/rooms/*"] = new() { HistoryMessages = 50, ReplayOnJoin = 50 });
    }

    public static void LatestValue(WebApplicationBuilder builder, WebApplication app)
    {
        builder.Services.AddBroadcast(options => options.Groups["/prices"] = new() { SlowConsumer = SlowConsumer.Conflate });
        app.MapPost("/prices/{symbol}", (string symbol, decimal price, IBroadcaster broadcaster) =>
            broadcaster.PublishAsync(new { symbol, price }, Recipients.Group("/prices"), key: symbol));
    }

    public static void Redis(WebApplicationBuilder builder)
    {
        builder.Services.AddBroadcast().AddRedis("localhost:6379", options => options.Prefix = "shop");
    }

    public static void Registry(WebApplication app)
    {
        app.MapGet("/count", (IConnectionRegistry connections) => connections.Count);
        app.MapGet("/rooms/{room}/count", (string room, IConnectionRegistry connections) => connections.CountGroupMembers($"/rooms/{room}"));
        app.MapGet("/users/{id}/connections", (string id, IConnectionRegistry connections) =>
            connections.GetUserConnections(id).Select(connection =>
                new { connection.Id, Address = $"{connection.RemoteAddress}", connection.ConnectedAt }));
    }

    public static void Options(WebApplicationBuilder builder)
    {
        builder.Services.AddBroadcast(options => options.MaxMessageBytes = 16 * 1024);
        builder.Services.AddBroadcast(builder.Configuration.GetSection("Broadcast"));
    }

    public static void EndpointOptions(WebApplication app)
    {
        app.MapBroadcast("/uploads", options =>
        {
            options.MaxMessageBytes = 256 * 1024;
            options.MaxMessagesPerSecond = 5;
        });
    }

    public static void ServerOptions(WebApplicationBuilder builder)
    {
        builder.Services.Configure<BroadcastServerOptions>(server =>
        {
            server.HandsOverConnections = false;
            server.SendsInline = false;
        });
    }

    public static void Named(WebApplicationBuilder builder, WebApplication app)
    {
        builder.Services.AddBroadcast("admin");
        app.MapBroadcast("/admin", "admin");
        app.MapPost("/alert", (string text, [FromKeyedServices("admin")] IBroadcaster admin) =>
            admin.PublishAsync(text, Recipients.Everyone));
    }

    sealed class AuditLog
    {
        public Task AddAsync(string? userId, string text) => Console.Out.WriteLineAsync($"{userId}: {text}");
    }
}
