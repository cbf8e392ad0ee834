using Broadcast.Middleware.Connections;
using Broadcast.Middleware.Presence;
using Broadcast.Middleware.Publishing;

namespace Broadcast.Middleware.Protocols;

/// <summary>Gives protocol contexts access to the services of the broadcast.</summary>
/// <param name="authorizer">The authorizer of the app. Null if the app has no authorizer.</param>
/// <param name="presence">The states of all groups.</param>
/// <param name="stateLimit">Limits the size of states.</param>
/// <param name="validator">Checks messages.</param>
/// <param name="maxGroups">See <see cref="BroadcastOptions.MaxGroupsPerConnection"/>.</param>
/// <param name="maxBatchBytes">See <see cref="FeedSender.GetMaxBatchBytes"/>.</param>
sealed class ProtocolActions(
    IGroupAuthorizer? authorizer,
    GroupPresence presence,
    StateLimit stateLimit,
    MessageValidator validator,
    int maxGroups,
    int maxBatchBytes)
{
    readonly GroupStateFeeds _stateFeeds = new(presence);

    public void ThrowIfInvalid(Message message) => validator.ThrowIfInvalid(message);

    /// <summary>Asks the authorizer. Without an authorizer, a client may only publish to its home group.</summary>
    public ValueTask<bool> IsAllowedAsync(Connection connection, string group, GroupOperation operation) =>
        authorizer is null
            ? new(operation == GroupOperation.Publish && group == connection.HomeGroup)
            : authorizer.AuthorizeAsync(connection, group, operation);

    /// <summary>Returns the filter of the app for a client that joins a group. Null accepts every message.</summary>
    public ValueTask<SubscriptionFilter?> GetFilterAsync(Connection connection, string group) =>
        authorizer?.GetFilterAsync(connection, group) ?? default;

    /// <summary>True if the connection is in the maximum number of groups, so it cannot join another group.</summary>
    public bool HasMaxGroups(Connection connection, string joining) =>
        connection.CountGroups(joining) >= maxGroups;

    /// <summary>Sets the state of a client in a group, at the request of the client.</summary>
    public RequestResult SetState(Connection connection, string group, ReadOnlyMemory<byte> state)
    {
        if (stateLimit.Problem(state) is { } problem) return RequestResult.BadRequest(problem);
        return presence.SetClientState(connection, group, state.ToArray()) switch
        {
            ClientStateResult.NotAMember => RequestResult.NotAMember,
            ClientStateResult.SetByApp => RequestResult.StateSetByApp,
            _ => RequestResult.Success,
        };
    }

    public FeedSender CreateStateSender(Connection connection, Action<ReadOnlyMemory<byte>> send) =>
        new(_stateFeeds, connection, send, maxGroups, maxBatchBytes);
}
