using System.Net.WebSockets;
using System.Security.Claims;
using System.Text.Json;

namespace Broadcast.Middleware;

/// <summary>
/// Publishes messages to connected clients, reads the messages of groups, and manages the members of groups. Inject
/// this interface into a controller, a background service or a minimal API. A named broadcast,
/// <c>AddBroadcast("name")</c>, has its own broadcaster as a keyed service.
/// </summary>
/// <remarks>All members are thread-safe. No method waits for a client.</remarks>
public interface IBroadcaster
{
    /// <summary>The connections of this node.</summary>
    IConnectionRegistry Connections { get; }

    /// <summary>
    /// The JSON options for published values. Call <c>ConfigureHttpJsonOptions</c> to change these options. The options
    /// class is <c>Microsoft.AspNetCore.Http.Json.JsonOptions</c>.
    /// </summary>
    JsonSerializerOptions SerializerOptions { get; }

    /// <summary>
    /// Publishes a message. The server sends the message to each recipient as fast as the recipient reads.
    /// </summary>
    /// <remarks>
    /// If you publish messages one after the other, each recipient receives the messages in this order. In a cluster,
    /// only messages to the same group, user or connection keep this order.
    /// </remarks>
    /// <param name="message">The message. The call copies the payload before it returns.</param>
    /// <param name="recipients">
    /// The recipients. Default: <see cref="Recipients.Everyone"/>. A message then reaches the connections of every URL.
    /// </param>
    /// <param name="cancellationToken">
    /// Cancels the publish before it starts. In a cluster, the token also ends the wait for the backplane. The
    /// recipients may then still receive the message.
    /// </param>
    /// <returns>
    /// The position of the message and the number of recipients. A message without recipients is not an error.
    /// </returns>
    /// <exception cref="ArgumentException">
    /// The message has no type, an invalid key or an invalid <see cref="Message.Id"/>. Or the payload is not valid
    /// UTF-8, not valid JSON (<see cref="Message.IsJson"/>), or larger than
    /// <see cref="BroadcastOptions.MaxBacklogBytes"/>.
    /// </exception>
    /// <exception cref="InvalidOperationException">
    /// A group cannot retain the message, and drops the message: see <see cref="GroupOptions.RetainLatestPerKey"/>.
    /// </exception>
    /// <exception cref="BackplaneException">
    /// The other nodes are unreachable. The recipients may still receive the message, but at most once.
    /// </exception>
    ValueTask<PublishResult> PublishAsync(
        Message message, Recipients recipients = default, CancellationToken cancellationToken = default);

    /// <summary>
    /// Reads the messages of a group inside the app: for example in a background service, a Blazor component, a gRPC
    /// stream or <c>TypedResults.ServerSentEvents</c>. The reader receives the selected history first, and then every
    /// later message in order.
    /// </summary>
    /// <remarks>
    /// <para>
    /// The reader starts with the first call of <c>MoveNextAsync</c>, and ends when the enumerator is disposed, the
    /// token is canceled, or the app shuts down. At a shutdown, the reader first receives the messages that were
    /// published before <c>ApplicationStopping</c>, and then the enumeration ends without an exception. Each
    /// enumeration has its own reader.
    /// </para>
    /// <para>
    /// A reader is not a member of the group: presence, the registry and <see cref="PublishResult.LocalRecipients"/> do
    /// not count the reader. The reader receives messages to the group, even if these messages exclude connections. The
    /// reader does not receive messages to all connections, to a user or to a single connection. A publish never waits
    /// for a reader.
    /// </para>
    /// </remarks>
    /// <param name="group">The name of the group: 1 to 255 characters, without control characters.</param>
    /// <param name="options">The history to read, and the behavior of a slow reader. Null for the defaults.</param>
    /// <param name="cancellationToken">
    /// Ends the enumeration with an <see cref="OperationCanceledException"/>.
    /// </param>
    /// <returns>
    /// The messages. The enumeration throws a <see cref="MessagesMissedException"/> if the reader has missed messages
    /// and <see cref="ReadOptions.SlowConsumer"/> is <see cref="SlowConsumer.Disconnect"/>, or if the cluster has lost
    /// messages. The enumeration throws a <see cref="BackplaneException"/> if the other nodes are unreachable at the
    /// start.
    /// </returns>
    /// <exception cref="ArgumentException">The group name or an option is invalid.</exception>
    IAsyncEnumerable<ReceivedMessage> ReadAsync(
        string group, ReadOptions? options = null, CancellationToken cancellationToken = default);

    /// <summary>
    /// Adds a connection to a group. The connection receives the history that <see cref="GroupOptions.ReplayOnJoin"/>
    /// sets, and then every later message.
    /// </summary>
    /// <param name="connectionId">The ID of the connection.</param>
    /// <param name="group">The name of the group: 1 to 255 characters, without control characters.</param>
    /// <param name="cancellationToken">
    /// Cancels the join before it starts. In a cluster, the token also ends the wait for the backplane or for the node
    /// of the connection. If the connection is on another node, the join may then still take effect.
    /// </param>
    /// <returns>
    /// False if the connection does not exist or is already a member, or if the registry refuses the join.
    /// </returns>
    /// <exception cref="ArgumentException">The ID is empty, or the group name is invalid.</exception>
    /// <exception cref="InvalidOperationException">
    /// The connection is already in <see cref="BroadcastOptions.MaxGroupsPerConnection"/> groups.
    /// </exception>
    /// <exception cref="BackplaneException">
    /// The other nodes are unreachable, or the node of the connection does not answer. The join may still take effect
    /// on that node.
    /// </exception>
    ValueTask<bool> JoinAsync(string connectionId, string group, CancellationToken cancellationToken = default);

    /// <summary>Adds a connection to a group and selects the history that the connection receives first.</summary>
    /// <param name="connectionId">The ID of the connection.</param>
    /// <param name="group">The name of the group: 1 to 255 characters, without control characters.</param>
    /// <param name="replay">The part of the history to send.</param>
    /// <param name="cancellationToken">
    /// Cancels the join before it starts. In a cluster, the token also ends the wait for the backplane or for the node
    /// of the connection. If the connection is on another node, the join may then still take effect.
    /// </param>
    /// <returns>
    /// The result shows whether the connection joined and whether messages are missing. The result also contains the
    /// position of the join.
    /// </returns>
    /// <exception cref="ArgumentException">The ID is empty, or the group name is invalid.</exception>
    /// <exception cref="InvalidOperationException">
    /// The connection is already in <see cref="BroadcastOptions.MaxGroupsPerConnection"/> groups.
    /// </exception>
    /// <exception cref="BackplaneException">
    /// The other nodes are unreachable, or the node of the connection does not answer. The join may still take effect
    /// on that node.
    /// </exception>
    ValueTask<JoinResult> JoinAsync(
        string connectionId, string group, Replay replay, CancellationToken cancellationToken = default);

    /// <summary>
    /// Adds a connection to a group. The connection receives only the messages that a filter accepts.
    /// </summary>
    /// <remarks>
    /// <para>
    /// The client cannot remove the filter: if the client leaves the group and joins the group again, the filter stays
    /// in effect. The filter ends when the app calls <see cref="LeaveAsync"/>, sets another filter, or adds the
    /// connection again after the client has left.
    /// </para>
    /// <para>
    /// If the connection is already a member, for example because the client has joined the group itself,
    /// <see cref="JoinResult.Joined"/> is false. The filter then applies from the next message on, and replaces an
    /// earlier filter of the app. A filter of the client stays in effect. Null keeps the earlier filter.
    /// </para>
    /// </remarks>
    /// <param name="connectionId">The ID of the connection.</param>
    /// <param name="group">The name of the group: 1 to 255 characters, without control characters.</param>
    /// <param name="replay">The part of the history to send.</param>
    /// <param name="filter">The filter. Null accepts every message.</param>
    /// <param name="cancellationToken">
    /// Cancels the join before it starts. In a cluster, the token also ends the wait for the backplane or for the node
    /// of the connection. If the connection is on another node, the join may then still take effect.
    /// </param>
    /// <returns>
    /// The result shows whether the connection joined and whether messages are missing. The result also contains the
    /// position of the join.
    /// </returns>
    /// <exception cref="ArgumentException">
    /// The ID is empty, or the group name is invalid. Or the filter has a delegate, and the connection may be on
    /// another node.
    /// </exception>
    /// <exception cref="InvalidOperationException">
    /// The connection is already in <see cref="BroadcastOptions.MaxGroupsPerConnection"/> groups.
    /// </exception>
    /// <exception cref="BackplaneException">
    /// The other nodes are unreachable, or the node of the connection does not answer. The join may still take effect
    /// on that node.
    /// </exception>
    ValueTask<JoinResult> JoinAsync(
        string connectionId,
        string group,
        Replay replay,
        SubscriptionFilter? filter,
        CancellationToken cancellationToken = default);

    /// <summary>
    /// Removes a connection from a group. The connection still receives the messages that were published before the
    /// call.
    /// </summary>
    /// <param name="connectionId">The ID of the connection.</param>
    /// <param name="group">The name of the group.</param>
    /// <param name="cancellationToken">
    /// Cancels the call before it starts. If the connection is on another node, the token also ends the wait for that
    /// node. The connection may then still leave the group.
    /// </param>
    /// <returns>False if the connection does not exist or is not a member.</returns>
    /// <exception cref="ArgumentException">The ID is empty, or the group name is invalid.</exception>
    /// <exception cref="BackplaneException">
    /// The other nodes are unreachable, or the node of the connection does not answer. The connection may still leave
    /// the group.
    /// </exception>
    ValueTask<bool> LeaveAsync(string connectionId, string group, CancellationToken cancellationToken = default);

    /// <summary>
    /// Closes a connection. The client first receives all earlier messages, and then a close frame. The server aborts
    /// the connection if the client does not answer within <see cref="BroadcastOptions.CloseTimeout"/>. The call does
    /// not wait for the client.
    /// </summary>
    /// <param name="connectionId">The ID of the connection.</param>
    /// <param name="status">
    /// The close code (RFC 6455, section 7.4): an assigned code from 1000 to 1014, or a code from 3000 to 4999. The
    /// default is 1000.
    /// </param>
    /// <param name="reason">
    /// A text for the developer of the client: at most 123 bytes of UTF-8. Null sends no reason.
    /// </param>
    /// <param name="cancellationToken">
    /// Cancels the call before it starts. If the connection is on another node, the token also ends the wait for that
    /// node. That node may then still close the connection.
    /// </param>
    /// <returns>False if the connection does not exist.</returns>
    /// <exception cref="ArgumentException">
    /// The ID is empty, the close code is not allowed, or the reason is too long.
    /// </exception>
    /// <exception cref="BackplaneException">
    /// The other nodes are unreachable, or the node of the connection does not answer. That node may still close the
    /// connection.
    /// </exception>
    ValueTask<bool> CloseAsync(
        string connectionId,
        WebSocketCloseStatus status = WebSocketCloseStatus.NormalClosure,
        string? reason = null,
        CancellationToken cancellationToken = default);

    /// <summary>
    /// Replaces the authentication of a connection, for example with the claims and the expiration of a new token. The
    /// client stays connected and misses no message. Later filters and authorizers see the new
    /// <see cref="IBroadcastConnection.User"/>. <c>MapBroadcastRefresh</c> calls this method for a client.
    /// </summary>
    /// <remarks>
    /// If the connection is on another node, that node receives a <see cref="ClaimsPrincipal"/> with the same claims.
    /// The memberships of the connection do not change, even if the new claims would not allow a join.
    /// </remarks>
    /// <param name="connectionId">The ID of the connection.</param>
    /// <param name="user">
    /// The authenticated user. The user ID must be the ID of the connection's user. An <see cref="IUserIdProvider"/>
    /// receives an empty request with this user.
    /// </param>
    /// <param name="expires">
    /// The time at which the new authentication expires. The server then closes the connection with close code 1008:
    /// see <see cref="BroadcastOptions.CloseOnAuthenticationExpiration"/>. Null if the authentication never expires.
    /// </param>
    /// <param name="cancellationToken">
    /// Cancels the call before it starts. If the connection is on another node, the token also ends the wait for that
    /// node. That node may then still replace the authentication.
    /// </param>
    /// <returns>
    /// False if the connection does not exist or has another user, or if its authentication has already expired.
    /// </returns>
    /// <exception cref="ArgumentException">
    /// The ID is empty, or the user is not authenticated or has no user ID.
    /// </exception>
    /// <exception cref="BackplaneException">
    /// The other nodes are unreachable, or the node of the connection does not answer. That node may still replace the
    /// authentication.
    /// </exception>
    ValueTask<bool> ExtendAuthenticationAsync(
        string connectionId,
        ClaimsPrincipal user,
        DateTimeOffset? expires,
        CancellationToken cancellationToken = default);

    /// <summary>
    /// Closes a connection as if its authentication had expired, for example after a sign-out. The client receives all
    /// earlier messages, and then the close code 1008. A client of the reliable protocol cannot recover.
    /// </summary>
    /// <param name="connectionId">The ID of the connection.</param>
    /// <param name="cancellationToken">
    /// Cancels the call before it starts. If the connection is on another node, the token also ends the wait for that
    /// node. That node may then still close the connection.
    /// </param>
    /// <returns>False if the connection does not exist.</returns>
    /// <exception cref="ArgumentException">The ID is empty.</exception>
    /// <exception cref="BackplaneException">
    /// The other nodes are unreachable, or the node of the connection does not answer. That node may still close the
    /// connection.
    /// </exception>
    ValueTask<bool> EndAuthenticationAsync(string connectionId, CancellationToken cancellationToken = default);
}
