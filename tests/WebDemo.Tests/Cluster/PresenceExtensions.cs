using System.Net.WebSockets;

namespace WebDemo.Tests;

/// <summary>Extension methods that read the changes at a presence URL.</summary>
static class PresenceExtensions
{
    /// <summary>Returns the first change that matches. A new member may raise a second change when its name is known.</summary>
    public static async Task<(string Id, string? Name)> NextPresenceChangeAsync(this ClientWebSocket watcher, Func<string, string?, bool> matches)
    {
        while (true)
        {
            var change = await watcher.ReceiveJsonAsync();
            var id = change.GetProperty("id").GetString()!;
            var name = change.TryGetProperty("name", out var value) ? value.GetString() : null;
            if (matches(id, name)) return (id, name);
        }
    }
}
