using System.Text.Json.Serialization;
using Microsoft.AspNetCore.Builder;
using Microsoft.Extensions.DependencyInjection;

namespace Broadcast.Middleware.Tests.Documentation;

/// <summary>
/// Contains the C# code of docs/guides/retained-values.md, so that the compiler checks the code.
/// <see cref="SnippetTests"/> compares the document with this file.
/// </summary>
static partial class RetainedSnippets
{
    public static void Options(WebApplicationBuilder builder)
    {
        builder.Services.AddBroadcast(options => options.Groups["/players"] = new() { RetainLatestPerKey = true });
    }

    public static void Map(WebApplication app)
    {
        app.MapBroadcast("/players")
            .Use(async (context, next) =>
            {
                context.Message = context.Message with { Key = context.Connection.Id };
                try
                {
                    await next(context);
                }
                catch (InvalidOperationException)
                {
                    await context.ReplyAsync("The game is full.");
                }
            })
            .UseDisconnect(async (context, next) =>
            {
                await next(context);
                var left = Message.FromText("A player left.") with { Key = context.Connection.Id, RemoveKey = true };
                await context.Broadcaster.PublishAsync(left, Recipients.Group("/players"));
            });
    }

    public static async Task PublishAsync(IBroadcaster broadcaster, string id, int x, int y)
    {
        var moved = Message.FromJson(new PlayerMoved(id, x, y), PlayerJson.Default.PlayerMoved) with { Key = id };
        await broadcaster.PublishAsync(moved, Recipients.Group("/players"));
    }

    public static async Task RemoveAsync(IBroadcaster broadcaster, string id)
    {
        var left = Message.FromJson(new PlayerLeft(id), PlayerJson.Default.PlayerLeft) with { Key = id, RemoveKey = true };
        await broadcaster.PublishAsync(left, Recipients.Group("/players"));
    }

    public sealed record PlayerMoved(string Id, int X, int Y);

    public sealed record PlayerLeft(string Id);

    [JsonSerializable(typeof(PlayerMoved))]
    [JsonSerializable(typeof(PlayerLeft))]
    sealed partial class PlayerJson : JsonSerializerContext;
}
