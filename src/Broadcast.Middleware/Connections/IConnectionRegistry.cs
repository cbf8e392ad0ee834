namespace Broadcast.Middleware;

/// <summary>
/// The connections and groups of this node. Replace or wrap the registry to admit, observe or store connections by your
/// own rules. Register your own implementation before or after <c>AddBroadcast</c>.
/// </summary>
/// <remarks>
/// <para>
/// The server asks the registry about every new connection and every join. The server refuses a connection with status
/// 503 if <see cref="TryAdd"/> returns false. A message to a user goes to the connections that
/// <see cref="GetUserConnections"/> returns.
/// </para>
/// <para>
/// The registry may return its own objects. The server finds its own connection by
/// <see cref="IBroadcastConnection.Id"/> and ignores unknown IDs. Your registry must also identify a connection by this
/// ID, because a registry that wraps your registry may pass a new object for each call.
/// </para>
/// <para>
/// Calls come from many threads at the same time and must not block. An exception affects only the connection or the
/// call that caused the exception. The server then refuses a handshake with status 500, or closes an open connection
/// with close code 1011. A registry contains only the connections of its own node.
/// </para>
/// </remarks>
public interface IConnectionRegistry
{
    /// <summary>The number of connections. The property must be cheap to read.</summary>
    int Count { get; }

    /// <summary>All connections. Return a copy, or an enumeration that tolerates concurrent changes.</summary>
    IEnumerable<IBroadcastConnection> Connections { get; }

    /// <summary>
    /// Adds a connection before the server answers the handshake. If a connect filter sets another user, the server
    /// removes the connection and adds the connection again. If this method throws an exception, the server also calls
    /// <see cref="Remove"/>.
    /// </summary>
    /// <returns>False if the registry refuses the connection or already contains the connection.</returns>
    bool TryAdd(IBroadcastConnection connection);

    /// <summary>Removes a connection from the registry and from all groups.</summary>
    /// <returns>False if the connection is unknown. A second call is not an error.</returns>
    bool Remove(IBroadcastConnection connection);

    /// <summary>
    /// Adds a connection to a group. Creates the group if necessary. If this method throws an exception, the server
    /// also calls <see cref="Leave"/>.
    /// </summary>
    /// <returns>
    /// False if the registry refuses the join, already lists the connection as a member, or does not know the
    /// connection.
    /// </returns>
    bool TryJoin(IBroadcastConnection connection, string group);

    /// <summary>Removes a connection from a group.</summary>
    /// <returns>False if the connection is not a member.</returns>
    bool Leave(IBroadcastConnection connection, string group);

    /// <summary>Returns the connection with an ID. Returns null for an unknown ID.</summary>
    IBroadcastConnection? Find(string connectionId);

    /// <summary>
    /// Returns the connections of a user. The result is empty for an unknown user. Return a copy, or an enumeration
    /// that tolerates concurrent changes.
    /// </summary>
    IEnumerable<IBroadcastConnection> GetUserConnections(string userId);

    /// <summary>
    /// Returns the members of a group. The result is empty for an unknown group. Return a copy, or an enumeration that
    /// tolerates concurrent changes.
    /// </summary>
    IEnumerable<IBroadcastConnection> GetGroupMembers(string group);

    /// <summary>
    /// Returns the number of members of a group. The method must not list the members, so that the call is cheap. The
    /// server reports this number without a check of the IDs.
    /// </summary>
    int CountGroupMembers(string group);
}
