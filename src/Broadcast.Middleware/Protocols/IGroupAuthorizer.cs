namespace Broadcast.Middleware;

/// <summary>
/// Decides which groups a client may join and publish to. The authorizer also decides which presence states a client
/// may set and read. The server asks the authorizer only about clients of protocols with groups. Without an authorizer,
/// a client may only publish to the group of its own URL.
/// </summary>
/// <remarks>
/// Register the authorizer as a service. For a named broadcast, use the name as the key. The server does not ask the
/// authorizer about actions of the app.
/// </remarks>
public interface IGroupAuthorizer
{
    /// <summary>
    /// Returns true if the client may perform the operation. The server calls this method for each request. Cache slow
    /// decisions.
    /// </summary>
    /// <param name="connection">The connection of the client.</param>
    /// <param name="group">The name of the group.</param>
    /// <param name="operation">The operation.</param>
    ValueTask<bool> AuthorizeAsync(IBroadcastConnection connection, string group, GroupOperation operation);

    /// <summary>
    /// Returns the filter for a client that requests to join a group. The client receives only messages that this
    /// filter accepts. The filter of the client and an earlier filter of the app for this group also apply. The server
    /// calls this method after the authorizer has allowed the join. Default: null, which accepts every message.
    /// </summary>
    /// <param name="connection">The connection of the client.</param>
    /// <param name="group">The name of the group.</param>
    ValueTask<SubscriptionFilter?> GetFilterAsync(IBroadcastConnection connection, string group) => default;
}
