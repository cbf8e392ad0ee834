using System.Net.WebSockets;
using System.Text.Json;
using System.Text.Json.Serialization;
using Microsoft.AspNetCore.Builder;
using Microsoft.Extensions.DependencyInjection;

namespace Broadcast.Middleware.Tests.Documentation;

/// <summary>Contains the code of docs/guides/chat.md.</summary>
static class ChatGuide
{
    public static void Add(WebApplicationBuilder builder)
    {
        builder.Services.AddBroadcast(options =>
        {
            options.Groups["/rooms/*"] = new() { HistoryMessages = 50, ReplayOnJoin = 50 };
            options.MaxMessagesPerSecond = 10;
        });
    }

    public static void Map(WebApplication app)
    {
        app.MapBroadcast("/rooms/{room}")
            .UseConnect(async (context, next) =>
            {
                if (context.HttpContext.Request.Query["name"] is not [{ Length: > 0 and <= 32 } name])
                {
                    context.Close(WebSocketCloseStatus.PolicyViolation, "Add ?name=… with 1 to 32 characters to the URL.");
                    return;
                }

                context.Connection.Items["name"] = name;
                await next(context);
            })
            .Use((context, next) =>
            {
                if (context.Message.Type != MessageType.Text) return Task.CompletedTask;
                var name = (string)context.Connection.Items["name"]!;
                var message = new ChatMessage(name, context.Text, DateTimeOffset.UtcNow);
                var isTyping = context.Text.Length == 0;
                context.Message = Message.FromJson(message, ChatJson.Default.ChatMessage) with { IsTransient = isTyping };
                return next(context);
            });
    }
}

sealed record ChatMessage(string Name, string Text, DateTimeOffset Time);

[JsonSourceGenerationOptions(JsonSerializerDefaults.Web)]
[JsonSerializable(typeof(ChatMessage))]
sealed partial class ChatJson : JsonSerializerContext;
