using Broadcast.Middleware.Redis.Diagnostics;
using Broadcast.Middleware.Redis.Tests.Infrastructure;
using Microsoft.Extensions.DependencyInjection;
using Microsoft.Extensions.Logging;

namespace Broadcast.Middleware.Redis.Tests.Diagnostics;

/// <summary>Tests a node whose app has a logger that throws an exception at each call.</summary>
public sealed class RedactingLoggerTests : RedisTest
{
    [Fact]
    public void Log_LoggerThrows_DoesNotThrow()
    {
        var logger = new RedactingLogger(new ThrowingLogger(), new SecretFilter(null));
        logger.LogError("text");
        Assert.False(logger.IsEnabled(LogLevel.Error));
    }

    [Fact]
    public async Task Node_LoggerThrows_ReportsLossAndWritesMembers()
    {
        var node = new TestNode(Nodes.Create(builder =>
        {
            builder.Services.AddLogging(static logging => logging
                .AddProvider(new ThrowingProvider())
                .SetMinimumLevel(LogLevel.Trace));
            builder.AddRedis(Redis.Configuration, static options =>
                (options.Prefix, options.PublishTimeout) = ("test", TestNode.Patience));
        }));
        await node.StartupChecks.WaitAsync(TestNode.Patience, Token);
        await node.SubscribeAsync(Group);
        await Redis.KillAsync();
        await Redis.StartAsync();
        await node.WaitForLossAsync(Group);
        node.Backplane.SetMember(Group, "m", default);
        var observer = StartNode();
        await TestNode.EventuallyAsync(
            async () => await observer.Backplane.CountMembersAsync(Group, Token) == 1, "The member is listed.");
    }

    sealed class ThrowingProvider : ILoggerProvider
    {
        public ILogger CreateLogger(string categoryName) =>
            categoryName == "Broadcast.Redis" ? new ThrowingLogger() : new SilentLogger();

        public void Dispose()
        {
        }
    }

    sealed class ThrowingLogger : ILogger
    {
        public IDisposable? BeginScope<TState>(TState state) where TState : notnull => null;

        public bool IsEnabled(LogLevel logLevel) => throw new InvalidOperationException("The logger fails.");

        public void Log<TState>(
            LogLevel logLevel, EventId eventId, TState state, Exception? exception,
            Func<TState, Exception?, string> formatter) => throw new InvalidOperationException("The logger fails.");
    }

    sealed class SilentLogger : ILogger
    {
        public IDisposable? BeginScope<TState>(TState state) where TState : notnull => null;

        public bool IsEnabled(LogLevel logLevel) => false;

        public void Log<TState>(
            LogLevel logLevel, EventId eventId, TState state, Exception? exception,
            Func<TState, Exception?, string> formatter)
        {
        }
    }
}
