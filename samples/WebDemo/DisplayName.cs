using System.Buffers.Text;
using Broadcast.Middleware;

namespace WebDemo;

/// <summary>The name that the pages show for a connection, for example "Ann" for <c>/rooms/blue?name=Ann</c>.</summary>
/// <remarks>The demo accepts any name. A real app uses the name of the authenticated user.</remarks>
static class DisplayName
{
    const int MaxLength = 32;

    static readonly object ItemKey = new();

    /// <summary>
    /// Reads the name from the URL, and stores the name for later filters. Only connect filters can read the request.
    /// </summary>
    /// <remarks>If the name is missing or not valid, the connection gets a guest name.</remarks>
    public static void Set(ConnectContext context) =>
        context.Connection.Items[ItemKey] = Normalize(context.HttpContext.Request.Query["name"]) ?? CreateGuestName(context.Connection.Id);

    /// <summary>Returns the name that <see cref="Set"/> stored.</summary>
    public static string Get(IBroadcastConnection connection) => (string)connection.Items[ItemKey]!;

    /// <summary>Creates a name such as "guest 1f3a" from the first random bytes of the connection ID.</summary>
    public static string CreateGuestName(string connectionId) =>
        $"guest {Convert.ToHexStringLower(Base64Url.DecodeFromChars(connectionId).AsSpan(0, 2))}";

    /// <summary>Removes white space around a name. Returns null if the name is missing, too long, or has control characters.</summary>
    public static string? Normalize(string? name) =>
        name?.Trim() is { Length: > 0 and <= MaxLength } trimmed && !trimmed.Any(char.IsControl) ? trimmed : null;
}
