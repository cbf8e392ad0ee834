using StackExchange.Redis;

namespace Broadcast.Middleware;

/// <summary>What is wrong with Redis, and how to mend it.</summary>
static class RedisProblem
{
    public static string Describe(Exception exception) => exception switch
    {
        RedisServerException => $"Redis refused: {exception.Message.TrimEnd('.')}.{Mend(exception.Message)}",
        RedisConnectionException { FailureType: ConnectionFailureType.AuthenticationFailure }
            or RedisConnectionException { InnerException: RedisConnectionException { FailureType: ConnectionFailureType.AuthenticationFailure } } =>
            "Redis does not let this node in: see to the user and the password in its configuration.",
        RedisConnectionException => "Redis cannot be reached: see to it that it runs, and that this node can connect to it.",
        TimeoutException => "Redis has not answered in time.",
        ObjectDisposedException => "The connection to Redis has been disposed of.",
        _ => $"Redis could not be asked: {exception.Message}",
    };

    // Redis 6 writes a script's own error behind others.
    static string Mend(string error) =>
        Mends.FirstOrDefault(mend => error.StartsWith(mend.Code, StringComparison.Ordinal) || error.Contains($" -{mend.Code} ", StringComparison.Ordinal)).Mend;

    static readonly (string Code, string Mend)[] Mends =
    [
        ("OOM", " It needs more memory, or has to keep less."),
        ("READONLY", " It is a replica: the node has to be told of the master."),
        ("MISCONF", " It cannot save what it has: see its log."),
        ("WRONGTYPE", " Something else uses keys with this prefix: choose another one."),
        ("NOPERM", " Its user needs scripts, and all keys and channels that begin with the prefix."),
    ];
}
