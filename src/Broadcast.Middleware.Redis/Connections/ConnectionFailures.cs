using System.Collections.Concurrent;
using Microsoft.Extensions.Logging;
using StackExchange.Redis;

namespace Broadcast.Middleware.Redis.Connections;

/// <summary>Finds the newest connection failure of each server in the log of StackExchange.Redis.</summary>
/// <remarks>
/// After a lost connection, the exception of a command contains the first failure. If Redis rejects the login at a
/// later attempt to connect, the exception does not contain this failure, but StackExchange.Redis logs the failure. If
/// the app creates the connection, StackExchange.Redis uses another logger, and this class knows no failures.
/// </remarks>
sealed class ConnectionFailures(ILoggerFactory inner) : ILoggerFactory
{
    // StackExchange.Redis stores the address of the server under this key. A failure without an address is only a
    // summary of earlier failures.
    const string AddressKey = "Redis-EndPoint";

    readonly ConcurrentDictionary<string, RedisConnectionException> _newest = new(StringComparer.Ordinal);

    /// <summary>
    /// Returns the newest failure of a server that an exception names. If the exception names several servers, a
    /// rejected login takes precedence. Returns null if the exception names no server.
    /// </summary>
    public RedisConnectionException? FindNewest(RedisConnectionException exception)
    {
        RedisConnectionException? found = null;
        foreach (var error in RedisErrors.Flatten(exception))
        {
            if (GetAddress(error) is not { } address || !_newest.TryGetValue(address, out var failure)) continue;
            if (failure.FailureType == ConnectionFailureType.AuthenticationFailure) return failure;
            found ??= failure;
        }

        return found;
    }

    public ILogger CreateLogger(string categoryName) => new Logger(inner.CreateLogger(categoryName), this);

    public void AddProvider(ILoggerProvider provider) => inner.AddProvider(provider);

    public void Dispose()
    {
    }

    void Add(RedisConnectionException failure)
    {
        if (GetAddress(failure) is { } address) _newest[address] = failure;
    }

    static string? GetAddress(Exception error) => error.Data[AddressKey] as string;

    sealed class Logger(ILogger inner, ConnectionFailures failures) : ILogger
    {
        public IDisposable? BeginScope<TState>(TState state) where TState : notnull => inner.BeginScope(state);

        // StackExchange.Redis logs connection failures as errors.
        public bool IsEnabled(LogLevel logLevel) => logLevel == LogLevel.Error || inner.IsEnabled(logLevel);

        public void Log<TState>(
            LogLevel logLevel, EventId eventId, TState state, Exception? exception,
            Func<TState, Exception?, string> formatter)
        {
            if (exception is RedisConnectionException failure) failures.Add(failure);
            if (inner.IsEnabled(logLevel)) inner.Log(logLevel, eventId, state, exception, formatter);
        }
    }
}
