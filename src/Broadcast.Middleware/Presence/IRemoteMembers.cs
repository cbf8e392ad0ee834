using Broadcast.Middleware.Connections;

namespace Broadcast.Middleware.Presence;

/// <summary>The group members of all nodes. A cluster implements it.</summary>
interface IRemoteMembers
{
    /// <summary>True after the broadcast has ended. The polling of other nodes then stops.</summary>
    bool HasEnded { get; }

    /// <summary>Tells the cluster about a member of this node and its state. The method must not throw.</summary>
    void Set(Connection connection, string group, byte[] state, DateTimeOffset setAt);

    /// <summary>Tells the cluster that a connection of this node has left a group. The method must not throw.</summary>
    void Remove(Connection connection, string group);

    /// <exception cref="BackplaneException">The cluster is unreachable.</exception>
    ValueTask<long> CountAsync(string group, CancellationToken cancellationToken);

    /// <exception cref="BackplaneException">The cluster is unreachable, or a member cannot be read.</exception>
    ValueTask<IReadOnlyList<RemoteMember>> GetAsync(string group, CancellationToken cancellationToken);

    /// <summary>
    /// Sets the state of a connection of another node. Returns false if no other node has the connection in the group.
    /// </summary>
    /// <exception cref="BackplaneException">The cluster is unreachable.</exception>
    ValueTask<bool> SetStateAsync(
        string connectionId, string group, ReadOnlyMemory<byte> state, CancellationToken cancellationToken);
}
