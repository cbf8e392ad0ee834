using Microsoft.Extensions.Logging;

namespace Broadcast.Middleware.Tests.Support;

/// <summary>A logger that throws if a log message contains the text.</summary>
sealed class FaultyLogger(string text) : ILoggerProvider, ILogger
{
    public ILogger CreateLogger(string categoryName) => this;

    public IDisposable? BeginScope<TState>(TState state) where TState : notnull => null;

    public bool IsEnabled(LogLevel logLevel) => true;

    public void Log<TState>(LogLevel logLevel, EventId eventId, TState state, Exception? exception, Func<TState, Exception?, string> formatter)
    {
        if (formatter(state, exception).Contains(text, StringComparison.Ordinal)) throw new InvalidOperationException("boom");
    }

    public void Dispose()
    {
    }
}
