using Broadcast.Middleware.Connections;
using Broadcast.Middleware.Messages;

namespace Broadcast.Middleware.Presence;

/// <summary>Implements <see cref="IPresence"/>. Checks the arguments and finds the node of a connection.</summary>
/// <param name="presence">Provides the members and states.</param>
/// <param name="connections">The connections of this node.</param>
/// <param name="remote">The members of other nodes. Null without a cluster.</param>
/// <param name="limit">Limits the size of states.</param>
sealed class PresenceService(
    GroupPresence presence, ConnectionManager connections, IRemoteMembers? remote, StateLimit limit) : IPresence
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
