using Microsoft.AspNetCore.Builder;
using Microsoft.AspNetCore.Hosting;
using Microsoft.Extensions.DependencyInjection;

namespace Broadcast.Middleware.Tests.Readme;

/// <summary>The README's C#, compiled. <see cref="ReadmeTests"/> compares.</summary>
static class Snippets
{
    public static void Start(string[] args)
    {
        var builder = WebApplication.CreateBuilder(args);
        builder.Services.AddBroadcast();

        var app = builder.Build();
        app.MapBroadcast("/ws");
        app.Run();
    }

    public static void Options(WebApplicationBuilder builder)
    {
        builder.Services.AddBroadcast(options => options.MaxMessageBytes = 16 * 1024);
        builder.Services.AddBroadcast(builder.Configuration.GetSection("Broadcast"));
    }

    public static void History(WebApplicationBuilder builder)
    {
        builder.Services.AddBroadcast(options => options.Groups["/rooms/*"] = new() { HistoryMessages = 50, ReplayOnJoin = 50 });
    }

    public static void Redis(WebApplicationBuilder builder)
    {
        builder.Services.AddBroadcast().AddRedis("localhost:6379", options => options.Prefix = "shop");
    }

    public static void InlineSends(WebApplicationBuilder builder)
    {
        builder.WebHost.ConfigureKestrel(kestrel => kestrel.ConfigureEndpointDefaults(listen => listen.UseInlineSends()));
    }

    public static void Map(WebApplication app)
    {
        app.MapBroadcast("/rooms/{room}").RequireAuthorization();

        app.MapPost("/news", async (string headline, IBroadcaster broadcaster) =>
        {
            await broadcaster.PublishAsync(headline);                                                 // to everyone
            await broadcaster.PublishAsync(headline, Recipients.Group("/rooms/blue"));                // to the members of a group
            await broadcaster.PublishAsync(headline, Recipients.Groups("/rooms/blue", "/rooms/red")); // of several, to each once
            await broadcaster.PublishAsync(headline, Recipients.User("ann"));                         // to all devices of a user
            var result = await broadcaster.PublishAsync(new byte[] { 1, 2, 3 }, Recipients.All);      // bytes, as a binary message
            return $"sent to {result.LocalRecipients}";
        });

        app.MapBroadcast("/chat")
            .Use((context, next) =>
            {
                if (context.Message.Type != MessageType.Text) return Task.CompletedTask;        // dropped
                context.Text = $"{context.Connection.UserId ?? "someone"}: {context.Text}";     // changed
                return next(context);                                                           // published
            })
            .UseConnect(async (context, next) =>
            {
                await next(context);
                await context.ReplyAsync("welcome");
            });
    }
}
