using Microsoft.Extensions.Logging;
using StackExchange.Redis;

namespace Broadcast.Middleware.Redis.Diagnostics;

/// <summary>The log messages of the backplane.</summary>
/// <remarks>
/// Invariant: no message contains client data or a password. So no message contains a group name or the connection
/// string.
/// </remarks>
sealed partial class RedisLogger(ILogger logger)
{
    readonly ILogger _logger = logger;

    [LoggerMessage(1, LogLevel.Information, "Node {Node} is connected to Redis and uses the prefix '{Prefix}'.")]
    public partial void Connected(string node, string prefix);

    [LoggerMessage(
        2, LogLevel.Warning,
        "Redis is unreachable. The backplane keeps trying to connect. " +
        "Check that Redis runs, that the configuration is correct, and that the network works. {Error}")]
    public partial void ConnectFailed(string error);

    [LoggerMessage(
        3, LogLevel.Warning,
        "The connection to Redis is lost. The backplane reconnects. " +
        "If this warning repeats, check Redis and the network. Reason: {Reason}")]
    public partial void ConnectionLost(string reason);

    [LoggerMessage(4, LogLevel.Information, "The connection to Redis is restored.")]
    public partial void ConnectionRestored();

    [LoggerMessage(5, LogLevel.Debug, "Messages of a group are missing. The node reads these messages from Redis.")]
    public partial void CatchingUp();

    [LoggerMessage(
        6, LogLevel.Warning,
        "Messages of a group may be lost. Redis no longer has them, or this node was disconnected for too long. " +
        "To keep more messages in Redis, raise RepairMessages, RepairBytes or RepairAge.")]
    public partial void MessagesLost();

    [LoggerMessage(
        7, LogLevel.Error,
        "The broadcast failed to process a message from Redis. The subscription of the group ends, and the broadcast " +
        "closes the connections of the members. Report the exception as a bug.")]
    public partial void ReceiverFailed(Exception exception);

    [LoggerMessage(
        8, LogLevel.Warning,
        "The heartbeat of this node is missing in Redis. Redis lost its data, or this node was disconnected for " +
        "longer than NodeTimeout. The node writes its members again under a new name. " +
        "If this warning repeats, check Redis and the network.")]
    public partial void HeartbeatExpired();

    [LoggerMessage(9, LogLevel.Debug, "A Redis command failed. The backplane retries the command. {Error}")]
    public partial void Retrying(string error);

    [LoggerMessage(
        10, LogLevel.Warning,
        "The channel of a group is stalled: Redis has new messages, but the channel delivers none. " +
        "The node subscribes to the channel again. " +
        "If this warning repeats, check Redis and any proxy between this node and Redis.")]
    public partial void ChannelStalled();

    [LoggerMessage(
        11, LogLevel.Error,
        "An unexpected error occurred in the backplane. The backplane continues. Report the exception as a bug.")]
    public partial void UnexpectedError(Exception exception);

    [LoggerMessage(
        12, LogLevel.Warning,
        "The check of Redis failed, or Redis refuses a command that the backplane needs. {Error}")]
    public partial void Refused(string error);

    [LoggerMessage(
        13, LogLevel.Warning,
        "The maxmemory-policy of Redis is '{Policy}'. Redis may evict heartbeats. Other nodes then do not list the " +
        "connections of a live node. Set maxmemory-policy to noeviction.")]
    public partial void EvictionPolicyWrong(string policy);

    [LoggerMessage(
        14, LogLevel.Warning,
        "The backplane cannot read the maxmemory-policy of Redis, because CONFIG GET and INFO are not allowed. " +
        "Check that the policy is noeviction.")]
    public partial void EvictionPolicyUnknown();

    /// <summary>
    /// Logs a failed command of a background loop. If Redis refuses a command, an operator must fix the cause. So this
    /// method logs a refusal as a warning, unless the last refusal had the same message. The loop sets
    /// <paramref name="lastError"/> to null after a success.
    /// </summary>
    public void Failed(BackplaneException exception, ref string? lastError)
    {
        var isRefusal = exception.InnerException is RedisServerException;
        if (isRefusal && Interlocked.Exchange(ref lastError, exception.Message) != exception.Message)
            Refused(exception.Message);
        else Retrying(exception.Message);
    }
}
