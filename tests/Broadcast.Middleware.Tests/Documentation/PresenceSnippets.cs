using System.Text.Json.Serialization;
using Microsoft.AspNetCore.Builder;

namespace Broadcast.Middleware.Tests.Documentation;

/// <summary>Contains the code of docs/guides/presence.md.</summary>
static class PresenceSnippets
{
    public static void Users(WebApplication app)
    {
        app.MapGet("/rooms/{room}/users", async (string room, IPresence presence) =>
            await presence.GetUsersAsync($"/rooms/{room}"));
        app.MapGet("/users/{id}/online", async (string id, IPresence presence) => await presence.IsUserOnlineAsync(id));
    }

    public static async Task StatesAsync(IPresence presence, string connectionId, CancellationToken cancellationToken)
    {
        await presence.SetStateAsync(connectionId, "/rooms/blue", new Person("Ann"), PersonJson.Default.Person);
        Console.WriteLine(await presence.CountUsersAsync("/rooms/blue"));

        await foreach (var change in presence.WatchAsync("/rooms/blue", cancellationToken))
        {
            if (change.Member.TryGetState(PersonJson.Default.Person, out var person)) Console.WriteLine($"{person.Name}: {change.Kind}");
        }
    }

    public static void Endpoint(WebApplication app)
    {
        app.MapBroadcast("/rooms/{room}").RequireAuthorization();
        app.MapBroadcastPresence("/rooms/{room}/presence", of: "/rooms/{room}").RequireAuthorization();
    }

    public static void Selection(WebApplication app)
    {
        app.MapBroadcastPresence(
            "/rooms/{room}/names",
            of: "/rooms/{room}",
            member => member.TryGetState(PersonJson.Default.Person, out var person) ? person : null,
            PersonJson.Default.Person).RequireAuthorization();
    }
}

sealed record Person(string Name);

[JsonSerializable(typeof(Person))]
sealed partial class PersonJson : JsonSerializerContext;
