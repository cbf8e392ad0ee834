using Microsoft.Extensions.Logging;

namespace Broadcast.Middleware;

/// <summary>What is logged. Nothing a client wrote is ever part of a line, and no password: neither group names nor the configuration are.</summary>
sealed partial class RedisLog(ILogger logger)
{
    readonly ILogger _logger = logger;

    [LoggerMessage(1, LogLevel.Information, "Node {Node} of the broadcast is connected to Redis, with the prefix '{Prefix}'.")]
    public partial void Connected(string node, string prefix);

    [LoggerMessage(2, LogLevel.Warning, "Redis cannot be reached yet; the broadcast goes on trying. {Error}")]
    public partial void NotConnected(string error);

    [LoggerMessage(3, LogLevel.Warning, "The connection to Redis is lost: {Reason}")]
    public partial void ConnectionLost(string reason);

    [LoggerMessage(4, LogLevel.Information, "The connection to Redis is back.")]
    public partial void ConnectionRestored();

    [LoggerMessage(5, LogLevel.Debug, "A group of this node lacks messages, and reads them.")]
    public partial void CatchingUp();

    [LoggerMessage(6, LogLevel.Warning, "A group's messages may be missing for good: Redis has lost them, or this node was away for too long.")]
    public partial void Lost();

    [LoggerMessage(7, LogLevel.Error, "The broadcast failed to take a message from Redis: its group starts anew.")]
    public partial void ReceiverFailed(Exception exception);

    [LoggerMessage(8, LogLevel.Warning, "The members of this node were forgotten by Redis, or written too late, and are written again.")]
    public partial void MembersForgotten();

    [LoggerMessage(9, LogLevel.Debug, "Redis did not do what it was asked to, and is asked again: {Error}")]
    public partial void Retrying(string error);

    [LoggerMessage(11, LogLevel.Warning, "Nothing comes through a group's channel, although something is published: the channel is subscribed to again.")]
    public partial void Deaf();

    [LoggerMessage(10, LogLevel.Error, "The backplane failed in a way that it should not have; it goes on.")]
    public partial void Unexpected(Exception exception);
}
