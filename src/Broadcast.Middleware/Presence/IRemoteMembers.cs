using Broadcast.Middleware.Connections;

namespace Broadcast.Middleware.Presence;

/// <summary>Provides the group members of all nodes. The cluster implements this interface.</summary>
interface IRemoteMembers
{
    /// <summary>True after the broadcast has ended. Code that polls the members then stops.</summary>
    bool HasEnded { get; }

    /// <summary>
    /// Stores a member of this node and its state in the directory of the cluster. The method must not throw.
    /// </summary>
    void Set(Connection connection, string group, byte[] state, DateTimeOffset setAt);

    /// <summary>
    /// Removes a member of this node from the directory of the cluster, because the connection has left the group. The
    /// method must not throw.
    /// </summary>
    void Remove(Connection connection, string group);

    /// <exception cref="BackplaneException">The cluster is unreachable.</exception>
    ValueTask<long> CountAsync(string group, CancellationToken cancellationToken);

    /// <exception cref="BackplaneException">The cluster is unreachable, or the data of a member is invalid.</exception>
    ValueTask<IReadOnlyList<RemoteMember>> GetAsync(string group, CancellationToken cancellationToken);

    /// <summary>Returns true if the user has a connection on another node.</summary>
    /// <exception cref="BackplaneException">The cluster is unreachable.</exception>
    ValueTask<bool> IsOnlineAsync(string userId, CancellationToken cancellationToken);

    /// <summary>
    /// Sets the state of a connection on another node. Returns false if the connection is not a group member on any
    /// other node.
    /// </summary>
    /// <exception cref="BackplaneException">The cluster is unreachable.</exception>
    ValueTask<bool> SetStateAsync(
        string connectionId, string group, ReadOnlyMemory<byte> state, CancellationToken cancellationToken);
}
