using System.Buffers.Text;
using System.Text.Json;
using Broadcast.Middleware;

namespace WebDemo;

/// <summary>What a connection is called: <c>/rooms/blue?name=Ann</c>. Anybody may call themselves anything here; a real app would ask who they are.</summary>
static class Visitor
{
    const int LongestName = 32;

    public static string NameOf(IBroadcastConnection connection) =>
        NameIn(connection.HttpContext.Request.Query["name"]) ?? GuestName(connection.Id);

    /// <summary>"guest 1f3a", by the first of the id's random bytes.</summary>
    public static string GuestName(string connectionId) => $"guest {Convert.ToHexStringLower(Base64Url.DecodeFromChars(connectionId).AsSpan(0, 2))}";

    static string? NameIn(string? name) =>
        name?.Trim() is { Length: > 0 and <= LongestName } trimmed && !trimmed.Any(char.IsControl) ? trimmed : null;
}

/// <summary>Tells presence what a connection is called.</summary>
sealed class VisitorFilter(IPresence presence) : IBroadcastFilter
{
    public async Task OnConnectAsync(ConnectContext context, FilterDelegate<ConnectContext> next)
    {
        await next(context);
        if (!context.Result.Joined) return;
        var name = JsonSerializer.SerializeToUtf8Bytes(Visitor.NameOf(context.Connection), DemoJson.Default.String);
        await presence.SetStateAsync(context.Connection.Id, context.Connection.HomeGroup, name);
    }
}
