using Microsoft.Extensions.Logging;

namespace Broadcast.Fuzz;

/// <summary>Ends the process when the library logs an error. No input from a client may cause an error.</summary>
sealed class FailOnErrorLogger : ILoggerProvider, ILogger
{
    public ILogger CreateLogger(string categoryName) => this;

    public bool IsEnabled(LogLevel logLevel) => logLevel >= LogLevel.Error;

    public IDisposable? BeginScope<TState>(TState state) where TState : notnull => null;

    public void Log<TState>(LogLevel logLevel, EventId eventId, TState state, Exception? exception, Func<TState, Exception?, string> formatter)
    {
        if (IsEnabled(logLevel)) Environment.FailFast(formatter(state, exception), exception);
    }

    public void Dispose() { }
}
