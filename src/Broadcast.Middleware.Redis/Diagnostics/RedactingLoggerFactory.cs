using Microsoft.Extensions.Logging;

namespace Broadcast.Middleware.Redis.Diagnostics;

/// <summary>Creates loggers that remove secrets from log messages. The app disposes of the inner factory.</summary>
sealed class RedactingLoggerFactory(ILoggerFactory inner, SecretFilter filter) : ILoggerFactory
{
    public ILogger CreateLogger(string categoryName) => new RedactingLogger(inner.CreateLogger(categoryName), filter);

    public void AddProvider(ILoggerProvider provider) => inner.AddProvider(provider);

    public void Dispose()
    {
    }
}
