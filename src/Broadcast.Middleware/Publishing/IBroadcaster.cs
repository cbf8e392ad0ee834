using System.Net.WebSockets;

namespace Broadcast.Middleware;

/// <summary>
/// Reaches the connected clients from anywhere in the app: inject it into a controller, a background service, a minimal API.
/// A further broadcast, <c>AddBroadcast("name")</c>, has its own, as a keyed service.
/// </summary>
/// <remarks>All members can be called from any thread. None of them waits for a client.</remarks>
public interface IBroadcaster
{
    /// <summary>Who is connected to this node.</summary>
    IConnectionRegistry Connections { get; }

    /// <summary>
    /// Publishes a message: it is appended to the log of whom it is for, and sent as fast as each of them takes it. Messages
    /// published one after the other arrive in that order; where there are several nodes, those to one group do, and those to one user or connection.
    /// </summary>
    /// <param name="message">The message. Its bytes are copied before the call returns.</param>
    /// <param name="recipients">Whom it is for; everyone by default.</param>
    /// <param name="cancellationToken">
    /// Gives up before the message is published; never afterwards. Where there are several nodes it ends the wait for the others, and the message may
    /// be published all the same.
    /// </param>
    /// <returns>Where the message stands and how many it is for. Nobody to hear it is no error.</returns>
    /// <exception cref="ArgumentException">
    /// The message has no type, is text that is not valid UTF-8, or is larger than <see cref="BroadcastOptions.MaxBacklogBytes"/>.
    /// </exception>
    /// <exception cref="BackplaneException">The other nodes cannot be reached. The message may be published all the same, once.</exception>
    ValueTask<PublishResult> PublishAsync(Message message, Recipients recipients = default, CancellationToken cancellationToken = default);

    /// <summary>Makes a connection a member of a group: it hears what is published to it from now on, and first
    /// what the group gives to those who join: <see cref="GroupOptions.ReplayOnJoin"/>.</summary>
    /// <param name="connectionId">The connection's id.</param>
    /// <param name="group">The group's name: 1 to 255 characters, none of them a control character.</param>
    /// <param name="cancellationToken">Gives up before the connection joins.</param>
    /// <returns>False if there is no such connection, it is a member already, or the registry refuses it.</returns>
    /// <exception cref="ArgumentException">The id is empty, or the name is not a group's name.</exception>
    /// <exception cref="InvalidOperationException">It is in <see cref="BroadcastOptions.MaxGroupsPerConnection"/> groups.</exception>
    /// <exception cref="BackplaneException">The other nodes cannot be reached.</exception>
    ValueTask<bool> JoinAsync(string connectionId, string group, CancellationToken cancellationToken = default);

    /// <summary>Makes a connection a member of a group, and gives it some of the group's history first.</summary>
    /// <param name="connectionId">The connection's id.</param>
    /// <param name="group">The group's name: 1 to 255 characters, none of them a control character.</param>
    /// <param name="replay">What of the history.</param>
    /// <param name="cancellationToken">Gives up before the connection joins.</param>
    /// <returns>Whether it has joined, where, and whether it has missed nothing.</returns>
    /// <exception cref="ArgumentException">The id is empty, or the name is not a group's name.</exception>
    /// <exception cref="InvalidOperationException">It is in <see cref="BroadcastOptions.MaxGroupsPerConnection"/> groups.</exception>
    /// <exception cref="BackplaneException">The other nodes cannot be reached.</exception>
    ValueTask<JoinResult> JoinAsync(string connectionId, string group, Replay replay, CancellationToken cancellationToken = default);

    /// <summary>Ends a membership: the connection still gets what was published before.</summary>
    /// <param name="connectionId">The connection's id.</param>
    /// <param name="group">The group's name.</param>
    /// <param name="cancellationToken">Gives up before the connection leaves.</param>
    /// <returns>False if there is no such connection or it is not a member.</returns>
    /// <exception cref="ArgumentException">The id is empty, or the name is not a group's name.</exception>
    /// <exception cref="BackplaneException">The other nodes cannot be reached.</exception>
    ValueTask<bool> LeaveAsync(string connectionId, string group, CancellationToken cancellationToken = default);

    /// <summary>
    /// Ends a connection: it gets what was published before, then a close frame. If it has not answered that within
    /// <see cref="BroadcastOptions.CloseTimeout"/>, it is cut off. The call does not wait for that.
    /// </summary>
    /// <param name="connectionId">The connection's id.</param>
    /// <param name="status">The close code (RFC 6455, section 7.4): 1000 by default; 1000 to 1014 where assigned, or 3000 to 4999.</param>
    /// <param name="reason">For the client's developer: 123 bytes of UTF-8 at most; null for none.</param>
    /// <param name="cancellationToken">Gives up before the connection is closed.</param>
    /// <returns>False if there is no such connection.</returns>
    /// <exception cref="ArgumentException">The id is empty, the code may not be sent, or the reason is too long.</exception>
    /// <exception cref="BackplaneException">The other nodes cannot be reached.</exception>
    ValueTask<bool> CloseAsync(
        string connectionId,
        WebSocketCloseStatus status = WebSocketCloseStatus.NormalClosure,
        string? reason = null,
        CancellationToken cancellationToken = default);
}
