using System.Security.Authentication;
using StackExchange.Redis;

namespace Broadcast.Middleware.Redis.Connections;

/// <summary>Describes a Redis error and its fix.</summary>
static class RedisErrors
{
    static readonly (string Code, string Hint)[] Hints =
    [
        ("OOM", " Give Redis more memory, or keep fewer messages."),
        ("READONLY", " The server is a replica. Configure the address of the master."),
        ("MISCONF", " Redis cannot save its data. See the log of Redis."),
        ("WRONGTYPE", " Other software uses keys with this prefix. Choose another prefix."),
        ("NOPERM",
            " Allow the Redis user to run scripts, to use all keys and channels that begin with the prefix, and " +
            "to run all commands that docs/operations/redis.md lists."),
        // If Redis denies a command in a script, the message contains one of these texts instead of the code NOPERM.
        // The second text comes from Valkey.
        ("can't run this command", " Allow the Redis user to run all commands that docs/operations/redis.md lists."),
        ("ACL failure in script", " Allow the Redis user to run all commands that docs/operations/redis.md lists."),
    ];

    // If Redis refuses a command of StackExchange.Redis itself, such as PING, all waiting commands fail. Their error
    // message then starts with this text.
    const string ErrorOfOtherCommand = "SimpleError: ";

    public static string Describe(Exception exception) => exception switch
    {
        RedisServerException => DescribeRefusal(exception.Message),
        RedisConnectionException when FindTlsError(exception) is { } error =>
            $"The TLS handshake with Redis failed: {error.Message.TrimEnd('.')}. Check the certificate of Redis and " +
            "the TLS settings in the configuration.",
        RedisConnectionException when IsAuthenticationFailure(exception) =>
            "Redis rejected the login. Check the user and the password in the configuration.",
        RedisConnectionException =>
            "Redis cannot be reached. Check that Redis runs and that this node can connect to it.",
        TimeoutException => "Redis did not answer in time. Check the load of Redis and the network.",
        ObjectDisposedException =>
            "The connection to Redis is disposed. Keep the connection open until the broadcast has stopped.",
        _ => $"The Redis command failed: {exception.Message}",
    };

    /// <summary>
    /// Returns an exception and all inner exceptions. If the connections to several servers have failed, an inner
    /// exception is an <see cref="AggregateException"/>.
    /// </summary>
    public static IEnumerable<Exception> Flatten(Exception exception) => exception switch
    {
        AggregateException several => several.InnerExceptions.SelectMany(Flatten),
        { InnerException: { } inner } => Flatten(inner).Prepend(exception),
        _ => [exception],
    };

    static string DescribeRefusal(string error)
    {
        if (error.StartsWith(ErrorOfOtherCommand, StringComparison.Ordinal))
            error = error[ErrorOfOtherCommand.Length..];
        return $"Redis refused the command: {error.TrimEnd('.')}.{GetHint(error)}";
    }

    static AuthenticationException? FindTlsError(Exception exception) =>
        Flatten(exception).OfType<AuthenticationException>().FirstOrDefault();

    static bool IsAuthenticationFailure(Exception exception) => Flatten(exception).Any(
        static error => error is RedisConnectionException
        {
            FailureType: ConnectionFailureType.AuthenticationFailure,
        });

    // If an error occurs in a script, Redis 6 writes other text before the error code. Scripts.CheckCommands also
    // writes other text before the code.
    static string GetHint(string error) => Hints.FirstOrDefault(hint =>
        error.StartsWith(hint.Code, StringComparison.Ordinal)
        || error.Contains($" -{hint.Code} ", StringComparison.Ordinal)
        || error.Contains($" failed: {hint.Code} ", StringComparison.Ordinal)
        || (hint.Code.Contains(' ') && error.Contains(hint.Code, StringComparison.Ordinal))).Hint;
}
