using Microsoft.Extensions.Logging;

namespace Broadcast.Middleware.Diagnostics;

/// <summary>
/// A logger that drops the exceptions of the app's logger. A logger that throws must not end a connection, a timer or
/// the process.
/// </summary>
sealed class SafeLogger(ILogger logger) : ILogger
{
    public IDisposable? BeginScope<TState>(TState state) where TState : notnull => logger.BeginScope(state);

    public bool IsEnabled(LogLevel logLevel)
    {
        try
        {
            return logger.IsEnabled(logLevel);
        }
        catch (Exception)
        {
            return false;
        }
    }

    public void Log<TState>(
        LogLevel logLevel,
        EventId eventId,
        TState state,
        Exception? exception,
        Func<TState, Exception?, string> formatter)
    {
        try
        {
            logger.Log(logLevel, eventId, state, exception, formatter);
        }
        catch (Exception)
        {
            // The server cannot report this exception, because the logger itself failed.
        }
    }
}
