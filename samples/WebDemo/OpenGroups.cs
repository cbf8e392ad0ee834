using Broadcast.Middleware;

namespace WebDemo;

/// <summary>
/// Anybody at /ws may join and publish to groups of any name that is no URL's: those have filters of their own, which nobody should get round.
/// </summary>
sealed class OpenGroups : IGroupAuthorizer
{
    public ValueTask<bool> AuthorizeAsync(IBroadcastConnection connection, string group, GroupOperation operation) =>
        new(connection.HomeGroup == "/ws" && (!group.StartsWith('/') || (group == connection.HomeGroup && operation == GroupOperation.Publish)));
}
