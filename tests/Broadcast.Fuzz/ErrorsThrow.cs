using Microsoft.Extensions.Logging;

namespace Broadcast.Fuzz;

/// <summary>A log in which an error is a finding: nothing that a client sends may cause one.</summary>
sealed class ErrorsThrow : ILoggerProvider, ILogger
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
