using Microsoft.Extensions.Logging;

namespace Broadcast.Middleware.Diagnostics;

/// <summary>
/// The log messages of a broadcast. Events that a client causes have the level Debug. The operator must fix the causes
/// of some of these events, so the first such event is a warning. Only the warning about an origin contains text that a
/// client sent.
/// </summary>
sealed partial class BroadcastLogger(ILogger logger)
{
    readonly ILogger _logger = new SafeLogger(logger);

    [LoggerMessage(1, LogLevel.Debug, "Connection {ConnectionId} connected.")]
    public partial void Connected(string connectionId);

    [LoggerMessage(2, LogLevel.Debug, "Connection {ConnectionId} ended. Reason: {Reason}.")]
    public partial void Disconnected(string connectionId, string reason);

    [LoggerMessage(3, LogLevel.Debug, "The server aborts connection {ConnectionId}. Reason: {Reason}. Error: {Error}")]
    public partial void Aborted(string connectionId, string reason, string? error);

    [LoggerMessage(4, LogLevel.Debug, "The server refused a handshake with status {StatusCode}. {Problem}")]
    public partial void HandshakeRefused(int statusCode, string problem);

    [LoggerMessage(5, LogLevel.Debug, "The client of connection {ConnectionId} reconnected.")]
    public partial void Recovered(string connectionId);

    [LoggerMessage(6, LogLevel.Debug, "The server closes connection {ConnectionId} with close code 1009. {Problem}")]
    public partial void MessageRefused(string connectionId, string problem);

    [LoggerMessage(7, LogLevel.Debug,
        "The server closes connection {ConnectionId} with close code 1008. " +
        "The client exceeded MaxMessagesPerSecond ({MaxMessagesPerSecond}).")]
    public partial void RateLimited(string connectionId, int? maxMessagesPerSecond);

    [LoggerMessage(8, LogLevel.Debug,
        "The server closes connection {ConnectionId} with close code 1013. " +
        "The server has more than MaxBacklogBytes ({MaxBacklogBytes}) of unsent messages for the client.")]
    public partial void SlowConsumer(string connectionId, int maxBacklogBytes);

    [LoggerMessage(9, LogLevel.Debug, "Connection {ConnectionId} was too slow and skipped {Count} messages.")]
    public partial void Dropped(string connectionId, long count);

    [LoggerMessage(10, LogLevel.Error,
        "Code of the app threw an exception for connection {ConnectionId}. Fix the method in the stack trace. This " +
        "method is, for example, a filter, the delegate of a subscription filter, the revalidator, the registry or " +
        "the authorizer.")]
    public partial void FilterFailed(string connectionId, Exception exception);

    [LoggerMessage(11, LogLevel.Error,
        "The connection registry threw an exception for connection {ConnectionId}. " +
        "The server refuses the handshake with status 500. Fix TryAdd of the registry.")]
    public partial void RegistryAddFailed(string connectionId, Exception exception);

    [LoggerMessage(12, LogLevel.Error,
        "The connection registry threw an exception for the ended connection {ConnectionId}. " +
        "The registry may still contain the connection. Fix Remove of the registry.")]
    public partial void RegistryRemoveFailed(string connectionId, Exception exception);

    [LoggerMessage(13, LogLevel.Information,
        "The app is shutting down and closes {Count} connections within {DrainTimeout}.")]
    public partial void Draining(int count, TimeSpan drainTimeout);

    [LoggerMessage(14, LogLevel.Warning,
        "The cluster lost messages. This node closes the affected connections with close code 1013, so that the " +
        "clients connect again. If this warning repeats, check the backplane.")]
    public partial void ClusterGroupLost();

    [LoggerMessage(15, LogLevel.Error,
        "This node cannot read a message from the cluster, or a message is missing. " +
        "This node closes the affected connections with close code 1013, so that the clients connect again. " +
        "Run the same version of Broadcast.Middleware on all nodes, and check the backplane.")]
    public partial void ClusterMessageUnreadable(Exception exception);

    [LoggerMessage(16, LogLevel.Warning,
        "The server closes connection {ConnectionId} with close code 1013, because the cluster is unreachable. " +
        "Check the backplane. {Problem}")]
    public partial void ClusterUnreachable(string connectionId, string problem);

    [LoggerMessage(17, LogLevel.Warning,
        "This node failed to subscribe to the messages of other nodes, so other nodes cannot reach this node yet. " +
        "This node tries again. If this warning repeats, check the backplane. {Problem}")]
    public partial void InboxUnreachable(string problem);

    [LoggerMessage(18, LogLevel.Warning,
        "This node handled a request of another node, but could not send the answer. " +
        "If this warning repeats, check the backplane. {Problem}")]
    public partial void AnswerLost(string problem);

    [LoggerMessage(19, LogLevel.Warning,
        "This node cannot read the group members of other nodes. This node tries again. " +
        "If this warning repeats, check the backplane. {Problem}")]
    public partial void MembersUnreachable(string problem);

    [LoggerMessage(20, LogLevel.Error,
        "This node failed to handle a request of another node. Fix the method in the stack trace.")]
    public partial void RemoteRequestFailed(Exception exception);

    [LoggerMessage(21, LogLevel.Error,
        "The backplane threw an exception from a method that must not throw. " +
        "Fix the IBackplane implementation.")]
    public partial void BackplaneFailed(Exception exception);

    [LoggerMessage(22, LogLevel.Error,
        "A callback of a cancellation token threw an exception when connection {ConnectionId} ended. " +
        "Fix the method in the stack trace.")]
    public partial void CallbackFailed(string connectionId, Exception exception);

    [LoggerMessage(23, LogLevel.Warning,
        "The server refuses pages of the origin {Origin}, because the app received the request at {Scheme}://{Host}. " +
        "If the page belongs to your app, add the origin to the option AllowedOrigins. " +
        "If a proxy replaces the header Host, configure the proxy to keep the header, or add " +
        "UseForwardedHeaders() with ForwardedHeaders.XForwardedHost to the app. " +
        "The server logs the next refusals of this origin at level Debug.")]
    public partial void OriginRefused(string origin, string scheme, string host);

    [LoggerMessage(24, LogLevel.Warning,
        "The server refused a handshake with status {StatusCode}. {Problem} " +
        "The server logs further refusals with the same problem at level Debug.")]
    public partial void FirstHandshakeRefused(int statusCode, string problem);

    [LoggerMessage(25, LogLevel.Warning,
        "An authenticated connection has no user ID. Messages to its user do not reach the connection, and " +
        "MaxConnectionsPerUser does not limit the connection. Add the claim 'sub' or ClaimTypes.NameIdentifier to " +
        "the user, or register an IUserIdProvider that returns an ID. The server logs this warning only once.")]
    public partial void UserIdMissing();

    [LoggerMessage(26, LogLevel.Warning,
        "The cluster is unreachable. This node delivers messages only to its own connections, and other nodes do not " +
        "receive these messages. Check the backplane. {Problem}")]
    public partial void DeliversLocally(string problem);

    [LoggerMessage(27, LogLevel.Warning,
        "The cluster is reachable again. During the outage, this node delivered {Count} messages only to its own " +
        "connections.")]
    public partial void DeliversToAllNodes(long count);

    [LoggerMessage(28, LogLevel.Warning,
        "The app adds Kestrel after the broadcast. So when the app shuts down, the connections close before the " +
        "hosted services stop. To let hosted services publish while they stop, call UseKestrel() before " +
        "AddBroadcast().")]
    public partial void KestrelAddedTooLate();

    [LoggerMessage(29, LogLevel.Debug,
        "A request has extended the authentication of connection {ConnectionId}. New expiration: {Expires}. " +
        "Null means that the authentication never expires.")]
    public partial void AuthenticationExtended(string connectionId, DateTimeOffset? expires);

    [LoggerMessage(30, LogLevel.Debug,
        "The server refused to extend the authentication of a connection, with status {StatusCode}. {Problem}")]
    public partial void RefreshRefused(int statusCode, string problem);
}
