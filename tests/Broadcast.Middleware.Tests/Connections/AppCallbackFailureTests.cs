using Microsoft.AspNetCore.Builder;
using Microsoft.Extensions.DependencyInjection;
using Microsoft.Extensions.Logging;
using Microsoft.Extensions.Time.Testing;

namespace Broadcast.Middleware.Tests.Connections;

/// <summary>
/// Tests exceptions from code of the app, such as loggers and cancellation callbacks. Such an exception must not reach
/// a timer or a thread of the pool, because it would end the process.
/// </summary>
public sealed class AppCallbackFailureTests
{
    const string Boom = "boom";

    readonly FakeTimeProvider _time = new();

    static CancellationToken Token => TestContext.Current.CancellationToken;

    [Fact]
    public async Task CloseTimeout_LoggerThrows_DoesNotThrowIntoTimer()
    {
        await using var app = await BroadcastApp.StartAsync(builder =>
        {
            builder.Services.AddSingleton<TimeProvider>(_time);
            builder.Logging.AddProvider(new FaultyLogger("aborts connection"));
        });
        await using var client = await RawClient.OpenAsync(app);
        await app.Broadcaster.CloseAsync(app.Registry.Connections.Single().Id, cancellationToken: Token);
        await client.ReadCloseAsync();

        // The fake clock runs timer callbacks on this thread and does not catch their exceptions.
        _time.Advance(TimeSpan.FromSeconds(5));

        await client.ReadEndAsync();
        await Eventually.True(() => app.Registry.Count == 0);
        Assert.Contains(app.Logs.GetSnapshot(), record => record.Message.Contains("aborts connection", StringComparison.Ordinal));
    }

    [Fact]
    public async Task Reconnect_LoggerThrows_KeepsConnectionOpen()
    {
        var clock = new RecoveryClock();
        await using var app = await BroadcastApp.StartReliableAsync(
            clock, configure: builder => builder.Logging.AddProvider(new FaultyLogger("reconnected")));
        await using var client = await ReliableClient.OpenAsync(app);
        client.Disconnect();
        await clock.WaitsAsync();

        await using var returned = await client.ReconnectAsync(app);

        await app.PublishAsync("still here");
        await returned.ReceivesAsync("still here");
    }

    /// <summary>The fake request of this test runs the callbacks of RequestAborted inside HttpContext.Abort.</summary>
    [Fact]
    public async Task RequestAbortedCallback_Throws_IsLoggedAndHarmsNoOtherConnection()
    {
        await using var app = await InMemoryApp.StartAsync(
            builder => builder.Services.AddSingleton<TimeProvider>(_time),
            app => app.MapBroadcast("/ws").UseConnect((context, next) =>
            {
                if (context.Connection.UserId == "bad")
                    context.HttpContext.RequestAborted.Register(static () => throw new InvalidOperationException(Boom));
                return next(context);
            }));
        using var bad = await app.ConnectAsync(user: "bad");
        using var good = await app.ConnectAsync(user: "good");

        await app.Broadcaster.CloseAsync(bad.Id, cancellationToken: Token);
        _time.Advance(TimeSpan.FromSeconds(5));

        await Eventually.True(() => app.Registry.Count == 1 && app.Errors.Count > 0);
        var error = Assert.Single(app.Errors);
        Assert.Contains("callback", error.Message, StringComparison.Ordinal);
        Assert.Contains(bad.Id, error.Message, StringComparison.Ordinal);
        await app.Broadcaster.PublishAsync("still here", cancellationToken: Token);
        Assert.Equal("still here", await good.ReceiveTextAsync());
    }

    [Fact]
    public async Task RevalidatorTokenCallback_Throws_IsLoggedOnceAndDisconnectFiltersRun()
    {
        var (registered, disconnected) = (new TaskCompletionSource(), new TaskCompletionSource());
        var revalidator = new Revalidator
        {
            Answer = async (connection, token) =>
            {
                if (connection.UserId == "good") return true;
                token.Register(static () => throw new InvalidOperationException(Boom));
                registered.SetResult();
                await new TaskCompletionSource().Task;
                return true;
            },
        };
        await using var app = await BroadcastApp.StartAsync(
            builder =>
            {
                TestUsers.Add(builder);
                builder.Services.AddSingleton<TimeProvider>(_time).AddSingleton<IConnectionRevalidator>(revalidator);
            },
            app => app.MapBroadcast("/ws").UseDisconnect((context, next) =>
            {
                disconnected.TrySetResult();
                return next(context);
            }),
            options => (options.KeepAliveInterval, options.RevalidationInterval) = (Timeout.InfiniteTimeSpan, TimeSpan.FromMinutes(1)));
        await using var good = await RawClient.OpenAsync(app, TestUsers.As("good"));
        await using var bad = await RawClient.OpenAsync(app, TestUsers.As("bad"));
        _time.Advance(TimeSpan.FromSeconds(66));
        await registered.Task.WaitAsync(Eventually.Patience, Token);

        await bad.LeaveAsync();

        await disconnected.Task.WaitAsync(Eventually.Patience, Token);
        var error = Assert.Single(app.Logs.GetSnapshot(), record => record.Level >= LogLevel.Error);
        Assert.Equal("Broadcast", error.Category);
        Assert.Equal(Boom, error.Exception!.GetBaseException().Message);
        await good.AssertOpenAsync();
    }
}
