using Microsoft.AspNetCore.Builder;
using Microsoft.Extensions.DependencyInjection;
using Microsoft.Extensions.Logging;

namespace Broadcast.Middleware.Tests.Documentation;

/// <summary>Contains the code of docs/guides/history.md, readers.md, groups.md, clients.md, and docs/reference/protocols.md.</summary>
static class FeatureSnippets
{
    public static async Task RecoverAsync(IBroadcaster broadcaster, string connectionId, Position position)
    {
        var result = await broadcaster.JoinAsync(connectionId, "/rooms/blue", Replay.After(position));
        _ = result;
    }

    public static async Task TransientAsync(IBroadcaster broadcaster, string userId)
    {
        var typing = Message.FromJson(new Typing(userId), AppJson.Default.Typing) with { IsTransient = true };
        await broadcaster.PublishAsync(typing, Recipients.Group("/rooms/blue"));
    }

    public static async Task PublishOnceAsync(IBroadcaster broadcaster, PaidOrder order, ILogger logger)
    {
        var message = Message.FromJson(order, AppJson.Default.Order) with { Id = $"order-{order.Id}-paid" };
        var result = await broadcaster.PublishAsync(message, Recipients.Group("/orders"));
        if (result.IsDuplicate) logger.LogInformation("The clients already have this message.");
    }

    public static async Task ReadAsync(IBroadcaster broadcaster, ReadOptions options, CancellationToken cancellationToken)
    {
        await foreach (var item in broadcaster.ReadAsync("/orders", options, cancellationToken))
        {
            Console.WriteLine($"{item.Position}: {item}");
        }
    }

    public static void Heartbeat(WebApplication app)
    {
        app.MapBroadcast("/chat", options =>
        {
            options.HeartbeatMessage = "heartbeat";
            options.HeartbeatInterval = TimeSpan.FromSeconds(15);
        });
    }

    public static void RawSubprotocols(WebApplicationBuilder builder)
    {
        builder.Services.AddBroadcast(options => options.RawSubprotocols.Add("chat"));
    }

    public static void Compression(WebApplicationBuilder builder)
    {
        builder.Services.AddBroadcast(options => options.CompressMessagesAbove = 256);
    }

    public static async Task SecretAsync(IBroadcaster broadcaster, string text)
    {
        await broadcaster.PublishAsync(Message.FromText(text) with { DisableCompression = true }, Recipients.User("ann"));
    }

    public static void Events(WebApplication app)
    {
        app.MapBroadcast("/ws").Use(async (context, next) =>
        {
            if (context.Event != "rename") await next(context);
            else await context.ReplyAsync($"You are now {context.Text}.");
        });
    }

    public static void OwnProtocol<ChatProtocol>(WebApplicationBuilder builder)
        where ChatProtocol : class, IBroadcastProtocol
    {
        builder.Services.AddSingleton<IBroadcastProtocol, ChatProtocol>();
    }

    public static void Redis(WebApplicationBuilder builder)
    {
        builder.Services.AddBroadcast().AddRedis("localhost:6379", options => options.Prefix = "shop");
        builder.Services.AddHealthChecks().AddBroadcastRedis();
    }

    public static async Task MembershipAsync(IBroadcaster broadcaster, string connectionId)
    {
        await broadcaster.JoinAsync(connectionId, "/announcements");
        await broadcaster.LeaveAsync(connectionId, "/announcements");
        await broadcaster.CloseAsync(connectionId);
    }
}

sealed class RoomAuthorizer : IGroupAuthorizer
{
    public ValueTask<bool> AuthorizeAsync(IBroadcastConnection connection, string group, GroupOperation operation) =>
        new(group.StartsWith("/rooms/", StringComparison.Ordinal) && connection.UserId is not null);
}

sealed record Typing(string UserId);

sealed record PaidOrder(int Id);

[System.Text.Json.Serialization.JsonSerializable(typeof(Typing))]
[System.Text.Json.Serialization.JsonSerializable(typeof(PaidOrder), TypeInfoPropertyName = "Order")]
sealed partial class AppJson : System.Text.Json.Serialization.JsonSerializerContext;
