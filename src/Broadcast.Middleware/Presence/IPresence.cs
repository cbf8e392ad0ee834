namespace Broadcast.Middleware;

/// <summary>
/// The members of groups on all nodes, and their states. Inject it anywhere in the app. A named broadcast,
/// <c>AddBroadcast("name")</c>, has its own presence as a keyed service.
/// </summary>
/// <remarks>
/// The methods are asynchronous because they may ask other nodes. <see cref="IConnectionRegistry"/> knows only this
/// node.
/// </remarks>
public interface IPresence
{
    /// <summary>Returns the number of members of a group, without listing them.</summary>
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
    /// Sets the state of a connection in a group, for example a name, a color or "away". The state is removed when the
    /// connection leaves.
    /// </summary>
    /// <param name="connectionId">The ID of the connection.</param>
    /// <param name="group">A group that the connection is in.</param>
    /// <param name="state">
    /// The state: any bytes, by convention UTF-8 JSON. Empty bytes remove the state. The call copies the bytes. The
    /// maximum size is <see cref="BroadcastOptions.MaxPresenceStateBytes"/>.
    /// </param>
    /// <param name="cancellationToken">Cancels the call before the state is set.</param>
    /// <returns>False if the connection does not exist or is not a member.</returns>
    /// <exception cref="ArgumentException">
    /// The ID is empty, the group name is invalid, or the state is too large.
    /// </exception>
    /// <exception cref="BackplaneException">The other nodes are unreachable.</exception>
    ValueTask<bool> SetStateAsync(
        string connectionId, string group, ReadOnlyMemory<byte> state, CancellationToken cancellationToken = default);

    /// <summary>
    /// Watches a group until canceled. The first items are the current members, as if they had just joined. Then every
    /// join, state change and leave follows.
    /// </summary>
    /// <remarks>
    /// A slow watcher gets only the latest change of each connection. The watcher gets nothing about a connection that
    /// joined and left meanwhile.
    /// </remarks>
    /// <param name="group">The name of the group. The group may be empty.</param>
    /// <param name="cancellationToken">Ends the watch.</param>
    /// <exception cref="ArgumentException">The group name is invalid.</exception>
    /// <exception cref="BackplaneException">
    /// The other nodes are unreachable when the watch starts. If these nodes become unreachable later, their known
    /// members stay.
    /// </exception>
    IAsyncEnumerable<PresenceChange> WatchAsync(string group, CancellationToken cancellationToken = default);
}
