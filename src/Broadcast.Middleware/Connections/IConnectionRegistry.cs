namespace Broadcast.Middleware;

/// <summary>
/// Who is connected to this node, and who is in which group. Replace it, by registering your own before or after
/// <c>AddBroadcast</c>, to admit connections by rules of your own, to observe them, or to store them differently.
/// </summary>
/// <remarks>
/// Every path asks it: a connection it does not admit is refused with 503, a group it does not let a connection join is not
/// delivered to it, and users and connections are found through it. Calls come from many threads at once and must neither block
/// nor fail; one that throws ends the connection it was for, or refuses it with 500. What it returns must be the objects it was given. It never learns of
/// other nodes.
/// </remarks>
public interface IConnectionRegistry
{
    /// <summary>How many connections there are; cheap enough to ask for each request.</summary>
    int Count { get; }

    /// <summary>All connections; a copy, or an enumeration that changes under way do not disturb.</summary>
    IEnumerable<IBroadcastConnection> Connections { get; }

    /// <summary>Lets a connection in, before its handshake is answered.</summary>
    /// <returns>False to refuse it, or if it is in already.</returns>
    bool TryAdd(IBroadcastConnection connection);

    /// <summary>Forgets a connection, in whichever groups it is.</summary>
    /// <returns>False if it was not there; asking twice is no error.</returns>
    bool Remove(IBroadcastConnection connection);

    /// <summary>Makes a connection a member of a group, which needs no creating.</summary>
    /// <returns>False to refuse it, or if it is a member already, or not connected.</returns>
    bool TryJoin(IBroadcastConnection connection, string group);

    /// <summary>Ends a membership.</summary>
    /// <returns>False if there was none.</returns>
    bool Leave(IBroadcastConnection connection, string group);

    /// <summary>The connection with this id, or null.</summary>
    IBroadcastConnection? Find(string connectionId);

    /// <summary>The connections of a user; none for a user nobody knows.</summary>
    IEnumerable<IBroadcastConnection> OfUser(string userId);

    /// <summary>The members of a group; none for a group nobody is in.</summary>
    IEnumerable<IBroadcastConnection> InGroup(string group);

    /// <summary>How many members a group has, without listing them.</summary>
    int CountInGroup(string group);
}
