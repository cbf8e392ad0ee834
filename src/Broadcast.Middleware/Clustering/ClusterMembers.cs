using Broadcast.Middleware.Connections;
using Broadcast.Middleware.Diagnostics;
using Broadcast.Middleware.Messages;
using Broadcast.Middleware.Presence;

namespace Broadcast.Middleware.Clustering;

/// <summary>Provides the group members of all nodes. The backplane stores the members.</summary>
/// <param name="backplane">The backplane.</param>
/// <param name="remote">Sends requests to the connections of other nodes.</param>
/// <param name="logger">The logger.</param>
sealed class ClusterMembers(IBackplane backplane, RemoteConnections remote, BroadcastLogger logger) : IRemoteMembers
{
    public bool HasEnded => remote.HasEnded;

    public void Set(Connection connection, string group, byte[] state, DateTimeOffset setAt)
    {
        if (group == GroupName.Everyone) return;
        var writer = new NodeWriter(64 + state.Length);
        writer.WriteVersion();
        writer.Write(remote.Node);
        writer.WriteOrNull(connection.UserId);
        writer.Write(setAt);
        writer.WriteRest(state);
        try
        {
            backplane.SetMember(group, connection.Id, writer.Written);
        }
        catch (Exception exception)
        {
            // SetMember must not throw. If SetMember throws, the connection stays a member on this node.
            logger.BackplaneFailed(exception);
        }
    }

    public void Remove(Connection connection, string group)
    {
        if (group == GroupName.Everyone) return;
        try
        {
            backplane.RemoveMember(group, connection.Id);
        }
        catch (Exception exception)
        {
            logger.BackplaneFailed(exception);
        }
    }

    public ValueTask<long> CountAsync(string group, CancellationToken cancellationToken) =>
        backplane.CountMembersAsync(group, cancellationToken);

    public async ValueTask<IReadOnlyList<RemoteMember>> GetAsync(string group, CancellationToken cancellationToken)
    {
        var members = await backplane.GetMembersAsync(group, cancellationToken).ConfigureAwait(false);
        try
        {
            return [.. members.Select(Decode)];
        }
        catch (InvalidDataException exception)
        {
            throw new BackplaneException(exception.Message, exception);
        }
    }

    public ValueTask<bool> IsOnlineAsync(string userId, CancellationToken cancellationToken) =>
        remote.HasUserAsync(userId, cancellationToken);

    public ValueTask<bool> SetStateAsync(
        string connectionId, string group, ReadOnlyMemory<byte> state, CancellationToken cancellationToken) =>
        remote.SetStateAsync(connectionId, group, state, cancellationToken);

    RemoteMember Decode(BackplaneMember member)
    {
        var reader = new NodeReader(member.Value);
        reader.ReadVersion();
        var isLocal = reader.ReadString() == remote.Node;
        var (userId, setAt) = (reader.ReadStringOrNull(), reader.ReadTime());
        return new(new(member.Name, userId, reader.Rest), setAt, isLocal);
    }
}
