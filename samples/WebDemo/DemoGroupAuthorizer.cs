using Broadcast.Middleware;

namespace WebDemo;

/// <summary>Decides which groups a client may join and publish to by itself.</summary>
/// <remarks>
/// A client at /ws may use any group whose name does not start with a slash. Names with a slash belong to URLs. The filters of
/// those URLs must not be bypassed, so a client may only publish to the group of its own URL.
/// </remarks>
sealed class DemoGroupAuthorizer : IGroupAuthorizer
{
    public ValueTask<bool> AuthorizeAsync(IBroadcastConnection connection, string group, GroupOperation operation)
    {
        var isFree = !group.StartsWith('/');
        var isPublishToOwnUrl = group == connection.HomeGroup && operation == GroupOperation.Publish;
        return new(connection.HomeGroup == "/ws" && (isFree || isPublishToOwnUrl));
    }
}
