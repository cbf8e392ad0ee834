using Broadcast.Middleware;

namespace WebDemo;

/// <summary>Decides which groups a client may join, and to which groups the client may publish.</summary>
/// <remarks>
/// A client at /ws may use any group whose name contains no slash. Names with a slash belong to URLs. With the option
/// GroupScope, such a name need not start with a slash: shop/rooms/blue. The client may publish to the group of its own
/// URL, but not to the groups of other URLs. So no client can bypass the filters of another URL.
/// </remarks>
sealed class DemoGroupAuthorizer : IGroupAuthorizer
{
    #region groups
    public ValueTask<bool> AuthorizeAsync(IBroadcastConnection connection, string group, GroupOperation operation)
    {
        var isFree = !group.Contains('/');
        var isPublishToOwnUrl = group == connection.HomeGroup && operation == GroupOperation.Publish;
        return new(connection.HomeGroup == "/ws" && (isFree || isPublishToOwnUrl));
    }
    #endregion
}
