using Microsoft.Extensions.Logging;

namespace Broadcast.Middleware.Redis.Diagnostics;

/// <summary>Removes secrets from each log message. StackExchange.Redis and the backplane use this logger.</summary>
/// <remarks>
/// This class ignores the exceptions of the inner logger. Otherwise, an inner logger that fails would end the loops of
/// the backplane.
/// </remarks>
sealed class RedactingLogger(ILogger inner, SecretFilter filter) : ILogger
{
    public IDisposable? BeginScope<TState>(TState state) where TState : notnull => inner.BeginScope(state);

    public bool IsEnabled(LogLevel logLevel)
    {
        try
        {
            return inner.IsEnabled(logLevel);
        }
        catch (Exception)
        {
            return false;
        }
    }

    public void Log<TState>(
        LogLevel logLevel, EventId eventId, TState state, Exception? exception,
        Func<TState, Exception?, string> formatter)
    {
        if (!IsEnabled(logLevel)) return;
        try
        {
            LogFiltered(logLevel, eventId, state, exception, formatter);
        }
        catch (Exception)
        {
            // The inner logger has failed, so the app cannot receive this message.
        }
    }

    void LogFiltered<TState>(
        LogLevel logLevel, EventId eventId, TState state, Exception? exception,
        Func<TState, Exception?, string> formatter)
    {
        var text = formatter(state, exception);
        var filteredText = filter.Filter(text);
        var error = exception?.ToString() ?? "";
        var filteredError = filter.Filter(error);
        if (text == filteredText && error == filteredError)
        {
            inner.Log(logLevel, eventId, state, exception, formatter);
            return;
        }

        // The state or the exception contains a secret. So pass filtered texts instead of these objects.
        inner.Log(
            logLevel, eventId, filteredText, exception is null ? null : new InvalidOperationException(filteredError),
            static (message, _) => message);
    }
}
