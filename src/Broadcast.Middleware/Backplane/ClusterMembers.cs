namespace Broadcast.Middleware;

/// <summary>The members of groups, on all nodes: this node's are told to the backplane, and everybody's are asked of it.</summary>
sealed class ClusterMembers(IBackplane backplane, string node, BroadcastLog log)
{
    /// <summary>A connection of this node is in a group, with this state.</summary>
    public void Set(Connection connection, string group, byte[] state, DateTimeOffset setAt)
    {
        if (group == Groups.Everyone) return;
        var writer = new NodeWriter(64 + state.Length);
        writer.WriteVersion();
        writer.Write(node);
        writer.WriteOrNull(connection.UserId);
        writer.Write(setAt);
        writer.WriteRest(state);
        try
        {
            backplane.SetMember(group, connection.Id, writer.Written);
        }
        catch (Exception exception)
        {
            // It may not, and whoever comes and goes is not to stay counted for it.
            log.BackplaneFailed(exception);
        }
    }

    public void Remove(Connection connection, string group)
    {
        try
        {
            if (group != Groups.Everyone) backplane.RemoveMember(group, connection.Id);
        }
        catch (Exception exception)
        {
            log.BackplaneFailed(exception);
        }
    }

    public ValueTask<long> CountAsync(string group, CancellationToken cancellationToken) => backplane.CountMembersAsync(group, cancellationToken);

    /// <exception cref="BackplaneException">The cluster cannot be reached, or what another node says of a member cannot be read.</exception>
    public async ValueTask<IReadOnlyList<ClusterMember>> GetAsync(string group, CancellationToken cancellationToken)
    {
        var members = await backplane.GetMembersAsync(group, cancellationToken).ConfigureAwait(false);
        try
        {
            return [.. members.Select(Read)];
        }
        catch (InvalidDataException exception)
        {
            throw new BackplaneException(exception.Message, exception);
        }
    }

    ClusterMember Read(BackplaneMember member)
    {
        var reader = new NodeReader(member.Value);
        reader.ReadVersion();
        var isOwn = reader.ReadString() == node;
        var (userId, setAt) = (reader.ReadStringOrNull(), reader.ReadTime());
        return new(new(member.Name, userId, reader.Rest), setAt, isOwn);
    }
}

/// <param name="Member">Who.</param>
/// <param name="SetAt">Since when it has its state, by its node's clock.</param>
/// <param name="IsOwn">Whether it is this node's.</param>
readonly record struct ClusterMember(PresenceMember Member, DateTimeOffset SetAt, bool IsOwn);
