namespace Broadcast.Middleware;

/// <summary>
/// Who is in which group: inject it anywhere in the app. A further broadcast, <c>AddBroadcast("name")</c>, has its own, as a keyed service.
/// </summary>
/// <remarks>Its answers can come from other nodes too, which is why they are asynchronous; <see cref="IConnectionRegistry"/> knows this node only.</remarks>
public interface IPresence
{
    /// <summary>How many connections are in a group, without listing them.</summary>
    /// <param name="group">The group's name; 0 for one nobody is in.</param>
    /// <param name="cancellationToken">Gives up.</param>
    /// <exception cref="ArgumentException">The name is not a group's name.</exception>
    /// <exception cref="BackplaneException">The other nodes cannot be reached.</exception>
    ValueTask<long> CountAsync(string group, CancellationToken cancellationToken = default);

    /// <summary>The members of a group, one for each connection, in no order.</summary>
    /// <param name="group">The group's name; none for one nobody is in.</param>
    /// <param name="cancellationToken">Gives up.</param>
    /// <exception cref="ArgumentException">The name is not a group's name.</exception>
    /// <exception cref="BackplaneException">The other nodes cannot be reached.</exception>
    ValueTask<IReadOnlyList<PresenceMember>> GetMembersAsync(string group, CancellationToken cancellationToken = default);

    /// <summary>Says something about a connection in a group, such as a name, a colour or "away". It is forgotten when the connection leaves.</summary>
    /// <param name="connectionId">The connection's id.</param>
    /// <param name="group">A group it is in.</param>
    /// <param name="state">Anything, by convention UTF-8 JSON; empty for nothing. Copied. At most <see cref="BroadcastOptions.MaxPresenceStateBytes"/>.</param>
    /// <param name="cancellationToken">Gives up before it is said.</param>
    /// <returns>False if there is no such connection or it is not a member.</returns>
    /// <exception cref="ArgumentException">The id is empty, the name is not a group's name, or the state is too large.</exception>
    /// <exception cref="BackplaneException">The other nodes cannot be reached.</exception>
    ValueTask<bool> SetStateAsync(string connectionId, string group, ReadOnlyMemory<byte> state, CancellationToken cancellationToken = default);

    /// <summary>
    /// First everyone who is in a group, as if they had joined just now, then who joins, changes or leaves, until cancelled. A watcher that
    /// is slower than the changes is told the latest of each connection, and no joining that was undone before it looked.
    /// </summary>
    /// <param name="group">The group's name, whether or not anybody is in it yet.</param>
    /// <param name="cancellationToken">Ends the watch.</param>
    /// <exception cref="ArgumentException">The name is not a group's name.</exception>
    /// <exception cref="BackplaneException">The other nodes cannot be reached when it begins; later, what is known of them stays.</exception>
    IAsyncEnumerable<PresenceChange> WatchAsync(string group, CancellationToken cancellationToken = default);
}
