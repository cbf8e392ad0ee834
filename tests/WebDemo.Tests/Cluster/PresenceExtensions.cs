using System.Net.WebSockets;

namespace WebDemo.Tests;

/// <summary>Extension methods that read the changes at a presence URL.</summary>
static class PresenceExtensions
{
    /// <summary>Returns the first member of a snapshot or an update that matches. The name of a member that has left is null.</summary>
    public static async Task<(string Id, string? Name)> NextPresenceChangeAsync(this ClientWebSocket watcher, Func<string, string?, bool> matches)
    {
        while (true)
        {
            var message = await watcher.ReceiveJsonAsync();
            foreach (var member in message.GetProperty("members").EnumerateArray())
            {
                var id = member.GetProperty("id").GetString()!;
                var name = member.TryGetProperty("state", out var state) ? state.GetProperty("name").GetString() : null;
                if (matches(id, name)) return (id, name);
            }
        }
    }
}
