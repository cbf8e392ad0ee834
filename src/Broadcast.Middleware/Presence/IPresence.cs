namespace Broadcast.Middleware;

/// <summary>
/// Provides the members of groups on all nodes, and the state of each member. Inject this interface into any service of
/// the app. A named broadcast, <c>AddBroadcast("name")</c>, has its own presence as a keyed service.
/// </summary>
/// <remarks>
/// The methods are asynchronous because a call may query the cluster. <see cref="IConnectionRegistry"/> contains only
/// the connections of this node.
/// </remarks>
public interface IPresence
{
    /// <summary>
    /// Returns the number of members of a group. This call is cheaper than <see cref="GetMembersAsync"/>.
    /// </summary>
    /// <param name="group">The name of the group. An unknown group has 0 members.</param>
    /// <param name="cancellationToken">Cancels the call.</param>
    /// <exception cref="ArgumentException">The group name is invalid.</exception>
    /// <exception cref="BackplaneException">The other nodes are unreachable.</exception>
    ValueTask<long> CountAsync(string group, CancellationToken cancellationToken = default);

    /// <summary>Returns the members of a group, in no particular order. Each connection is one member.</summary>
    /// <param name="group">The name of the group. An unknown group has no members.</param>
    /// <param name="cancellationToken">Cancels the call.</param>
    /// <exception cref="ArgumentException">The group name is invalid.</exception>
    /// <exception cref="BackplaneException">The other nodes are unreachable.</exception>
    ValueTask<IReadOnlyList<PresenceMember>> GetMembersAsync(
        string group, CancellationToken cancellationToken = default);

    /// <summary>
    /// Returns the IDs of the users in a group, in no particular order. A user counts once for any number of
    /// connections on any number of nodes. Anonymous clients do not count.
    /// </summary>
    /// <remarks>
    /// In a cluster, the call reads the members of all nodes, as <see cref="GetMembersAsync"/> does. After a crash of a
    /// node, its users still count for up to 15 seconds. A disconnected client that can reconnect counts for
    /// <see cref="BroadcastOptions.RecoveryTimeout"/>.
    /// </remarks>
    /// <param name="group">The name of the group. An unknown group has no users.</param>
    /// <param name="cancellationToken">Cancels the call.</param>
    /// <exception cref="ArgumentException">The group name is invalid.</exception>
    /// <exception cref="BackplaneException">The other nodes are unreachable.</exception>
    ValueTask<IReadOnlyCollection<string>> GetUsersAsync(string group, CancellationToken cancellationToken = default);

    /// <summary>
    /// Returns the number of users in a group. A user counts once for any number of connections on any number of nodes.
    /// </summary>
    /// <remarks>This call costs the same as <see cref="GetUsersAsync"/>.</remarks>
    /// <param name="group">The name of the group. An unknown group has 0 users.</param>
    /// <param name="cancellationToken">Cancels the call.</param>
    /// <exception cref="ArgumentException">The group name is invalid.</exception>
    /// <exception cref="BackplaneException">The other nodes are unreachable.</exception>
    ValueTask<int> CountUsersAsync(string group, CancellationToken cancellationToken = default);

    /// <summary>
    /// Returns true if the user has a connection at any URL on any node. The cost does not depend on the number of
    /// other users.
    /// </summary>
    /// <remarks>
    /// After a crash of a node, its users are still online for up to 15 seconds. A disconnected client that can
    /// reconnect is online for <see cref="BroadcastOptions.RecoveryTimeout"/>.
    /// </remarks>
    /// <param name="userId">See <see cref="IBroadcastConnection.UserId"/>.</param>
    /// <param name="cancellationToken">Cancels the call.</param>
    /// <exception cref="ArgumentException">The ID is null or empty.</exception>
    /// <exception cref="BackplaneException">
    /// The user has no connection on this node, and the other nodes are unreachable.
    /// </exception>
    ValueTask<bool> IsUserOnlineAsync(string userId, CancellationToken cancellationToken = default);

    /// <summary>
    /// Sets the state of a connection in a group, for example a name, a color or "away". The server removes the state
    /// when the connection leaves the group. While this state exists, the client itself cannot change the state.
    /// </summary>
    /// <param name="connectionId">The ID of the connection.</param>
    /// <param name="group">The name of a group that contains the connection.</param>
    /// <param name="state">
    /// The state. Any bytes are allowed. By convention, the bytes are JSON in UTF-8. An empty value removes the state.
    /// The call copies the bytes. The maximum size is <see cref="BroadcastOptions.MaxPresenceStateBytes"/>.
    /// </param>
    /// <param name="cancellationToken">
    /// Cancels the call before it starts. If the connection is on another node, the token also ends the wait for that
    /// node. That node may then still set the state.
    /// </param>
    /// <returns>False if the connection does not exist or is not a member.</returns>
    /// <exception cref="ArgumentException">
    /// The ID is empty, the group name is invalid, or the state is too large.
    /// </exception>
    /// <exception cref="BackplaneException">
    /// The other nodes are unreachable, or the node of the connection does not answer. That node may still set the
    /// state.
    /// </exception>
    ValueTask<bool> SetStateAsync(
        string connectionId, string group, ReadOnlyMemory<byte> state, CancellationToken cancellationToken = default);

    /// <summary>
    /// Watches a group until you cancel the token. First, the watch reports each current member as
    /// <see cref="PresenceChangeKind.Joined"/>. Then the watch reports each join, state change and leave.
    /// </summary>
    /// <remarks>
    /// A slow watcher receives only the latest change of each connection. If a connection joins and leaves before the
    /// watcher reads the next item, the watcher does not receive these changes.
    /// </remarks>
    /// <param name="group">The name of the group. The group may be empty.</param>
    /// <param name="cancellationToken">Ends the watch with an <see cref="OperationCanceledException"/>.</param>
    /// <exception cref="ArgumentException">The group name is invalid.</exception>
    /// <exception cref="BackplaneException">
    /// The other nodes are unreachable when the watch starts. If nodes become unreachable later, the watch keeps their
    /// last known members.
    /// </exception>
    IAsyncEnumerable<PresenceChange> WatchAsync(string group, CancellationToken cancellationToken = default);
}
