using Broadcast.Middleware.Connections;
using Broadcast.Middleware.Messages;

namespace Broadcast.Middleware.Presence;

/// <summary>Implements <see cref="IPresence"/>. Checks the arguments and finds the node of a connection.</summary>
/// <param name="presence">Provides the members and states.</param>
/// <param name="registry">Finds the connections of a user.</param>
/// <param name="connections">The connections of this node.</param>
/// <param name="remote">The members of other nodes. Null without a cluster.</param>
/// <param name="limit">Limits the size of states.</param>
sealed class PresenceService(
    GroupPresence presence,
    IConnectionRegistry registry,
    ConnectionManager connections,
    IRemoteMembers? remote,
    StateLimit limit) : IPresence
{
    public ValueTask<long> CountAsync(string group, CancellationToken cancellationToken)
    {
        GroupName.ThrowIfInvalid(group);
        cancellationToken.ThrowIfCancellationRequested();
        return presence.CountAsync(group, cancellationToken);
    }

    public ValueTask<IReadOnlyList<PresenceMember>> GetMembersAsync(string group, CancellationToken cancellationToken)
    {
        GroupName.ThrowIfInvalid(group);
        cancellationToken.ThrowIfCancellationRequested();
        return presence.GetMembersAsync(group, cancellationToken);
    }

    public async ValueTask<IReadOnlyCollection<string>> GetUsersAsync(string group, CancellationToken cancellationToken)
    {
        var members = await GetMembersAsync(group, cancellationToken).ConfigureAwait(false);
        return members.Select(static member => member.UserId).OfType<string>().ToHashSet(StringComparer.Ordinal);
    }

    public async ValueTask<int> CountUsersAsync(string group, CancellationToken cancellationToken) =>
        (await GetUsersAsync(group, cancellationToken).ConfigureAwait(false)).Count;

    public ValueTask<bool> IsUserOnlineAsync(string userId, CancellationToken cancellationToken)
    {
        ArgumentException.ThrowIfNullOrEmpty(userId);
        cancellationToken.ThrowIfCancellationRequested();
        var isOnNode = registry.GetUserConnections(userId).Any(known => connections.Find(known.Id) is not null);
        return isOnNode || remote is null ? new(isOnNode) : remote.IsOnlineAsync(userId, cancellationToken);
    }

    public ValueTask<bool> SetStateAsync(
        string connectionId, string group, ReadOnlyMemory<byte> state, CancellationToken cancellationToken)
    {
        ArgumentException.ThrowIfNullOrEmpty(connectionId);
        GroupName.ThrowIfInvalid(group);
        if (limit.Problem(state) is { } problem) throw new ArgumentException(problem, nameof(state));
        cancellationToken.ThrowIfCancellationRequested();
        if (connections.Find(connectionId) is { } connection)
            return new(presence.SetState(connection, group, state.ToArray()));
        return remote?.SetStateAsync(connectionId, group, state, cancellationToken) ?? default;
    }

    public IAsyncEnumerable<PresenceChange> WatchAsync(string group, CancellationToken cancellationToken)
    {
        GroupName.ThrowIfInvalid(group);
        return presence.WatchAsync(group, cancellationToken);
    }
}
