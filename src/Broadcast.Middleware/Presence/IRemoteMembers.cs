using Broadcast.Middleware.Connections;

namespace Broadcast.Middleware.Presence;

/// <summary>The group members of all nodes. A cluster implements it.</summary>
interface IRemoteMembers
{
    /// <summary>The broadcast has ended. No one watches other nodes any more.</summary>
    bool HasEnded { get; }

    /// <summary>Tells the cluster about a member of this node and its state. Must not throw.</summary>
    void Set(Connection connection, string group, byte[] state, DateTimeOffset setAt);

    /// <summary>Tells the cluster that a connection of this node has left a group. Must not throw.</summary>
    void Remove(Connection connection, string group);

    /// <exception cref="BackplaneException">The cluster is unreachable.</exception>
    ValueTask<long> CountAsync(string group, CancellationToken cancellationToken);

    /// <exception cref="BackplaneException">The cluster is unreachable, or a member cannot be read.</exception>
    ValueTask<IReadOnlyList<RemoteMember>> GetAsync(string group, CancellationToken cancellationToken);

    /// <summary>Sets the state of a connection of another node. Returns false if no node has it in the group.</summary>
    /// <exception cref="BackplaneException">The cluster is unreachable.</exception>
    ValueTask<bool> SetStateAsync(
        string connectionId, string group, ReadOnlyMemory<byte> state, CancellationToken cancellationToken);
}
