using Microsoft.Extensions.Logging;

namespace Broadcast.Middleware;

/// <summary>What is logged. What a client causes is logged at Debug; nothing a client wrote is ever part of a line.</summary>
sealed partial class BroadcastLog(ILogger logger)
{
    readonly ILogger _logger = logger;

    [LoggerMessage(1, LogLevel.Debug, "Connection {ConnectionId} has connected.")]
    public partial void Connected(string connectionId);

    [LoggerMessage(2, LogLevel.Debug, "Connection {ConnectionId} has ended ({Reason}).")]
    public partial void Disconnected(string connectionId, string reason);

    [LoggerMessage(3, LogLevel.Debug, "Connection {ConnectionId} is cut off ({Reason}): {Error}")]
    public partial void CutOff(string connectionId, string reason, string? error);

    [LoggerMessage(4, LogLevel.Debug,
        "Connection {ConnectionId} is closed with 1013: more than MaxBacklogBytes ({MaxBacklogBytes}) of messages wait for it.")]
    public partial void SlowConsumer(string connectionId, int maxBacklogBytes);

    [LoggerMessage(5, LogLevel.Error, "A filter, the registry or the revalidator failed on connection {ConnectionId}.")]
    public partial void FilterFailed(string connectionId, Exception exception);

    [LoggerMessage(6, LogLevel.Debug, "Connection {ConnectionId} is closed with 1009: {Problem}")]
    public partial void MessageRefused(string connectionId, string problem);

    [LoggerMessage(7, LogLevel.Debug, "A handshake was refused with {StatusCode}: {Problem}")]
    public partial void HandshakeRefused(int statusCode, string problem);

    [LoggerMessage(9, LogLevel.Debug, "Connection {ConnectionId} was too slow: {Count} messages for it were dropped.")]
    public partial void Dropped(string connectionId, long count);

    [LoggerMessage(10, LogLevel.Debug, "Connection {ConnectionId} is closed with 1008: it exceeds MaxMessagesPerSecond ({MaxMessagesPerSecond}).")]
    public partial void RateLimited(string connectionId, int? maxMessagesPerSecond);

    [LoggerMessage(11, LogLevel.Information, "Saying goodbye to {Count} connections within {DrainTimeout}.")]
    public partial void Draining(int count, TimeSpan drainTimeout);

    [LoggerMessage(12, LogLevel.Error, "The connection registry failed to list the connections: nobody is told that the app ends.")]
    public partial void DrainFailed(Exception exception);

    [LoggerMessage(8, LogLevel.Error, "The connection registry failed to remove connection {ConnectionId}.")]
    public partial void RegistryFailed(string connectionId, Exception exception);

    [LoggerMessage(15, LogLevel.Warning, "The cluster has lost messages of a group: its members on this node are closed with 1013, to connect again.")]
    public partial void ClusterGroupLost();

    [LoggerMessage(16, LogLevel.Error, "A message of the cluster cannot be read.")]
    public partial void ClusterMessageUnreadable(Exception exception);

    [LoggerMessage(17, LogLevel.Warning, "Connection {ConnectionId} is closed with 1013, for the cluster cannot be reached: {Problem}")]
    public partial void ClusterUnreachable(string connectionId, string problem);

    [LoggerMessage(18, LogLevel.Warning, "Other nodes cannot reach this one yet: {Problem}")]
    public partial void InboxUnreachable(string problem);

    [LoggerMessage(19, LogLevel.Warning, "What another node asked was done, but it could not be told: {Problem}")]
    public partial void AnswerLost(string problem);

    [LoggerMessage(22, LogLevel.Warning, "The members of other nodes cannot be told at the moment: {Problem}")]
    public partial void MembersUnreachable(string problem);

    [LoggerMessage(20, LogLevel.Error, "What came from another node failed, or what had to be done after a loss.")]
    public partial void FromOtherNodeFailed(Exception exception);

    [LoggerMessage(21, LogLevel.Error, "The backplane has thrown where it must not.")]
    public partial void BackplaneFailed(Exception exception);

    [LoggerMessage(14, LogLevel.Debug, "Connection {ConnectionId} has a new line: its client has come back.")]
    public partial void Recovered(string connectionId);

    [LoggerMessage(13, LogLevel.Error, "The connection registry failed to add connection {ConnectionId}: its handshake is refused with 500.")]
    public partial void AddFailed(string connectionId, Exception exception);
}
