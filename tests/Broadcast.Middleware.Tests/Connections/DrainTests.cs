using System.Diagnostics;
using Microsoft.Extensions.DependencyInjection;
using Microsoft.Extensions.Hosting;
using Microsoft.Extensions.Logging;
using Microsoft.Extensions.Time.Testing;

namespace Broadcast.Middleware.Tests.Connections;

/// <summary>Tests the shutdown of an app with many connections.</summary>
public sealed class DrainTests
{
    // A time limit that is long enough for a busy machine, and shorter than each timeout that could end a connection by mistake.
    static readonly TimeSpan Margin = TimeSpan.FromSeconds(15);

    [Fact]
    public async Task Drain_AllClientsAnswer_ClosesWithCode1001AndEndsEarly()
    {
        const int Count = 300;
        await using var app = await BroadcastApp.StartAsync(options: options => options.DrainTimeout = TimeSpan.FromSeconds(25));
        using var meters = new Meters(app);
        await using var crowd = await ManyClients.OpenAsync(app, Count);
        var started = Stopwatch.GetTimestamp();

        var stopping = app.StopAsync();
        var closes = await crowd.AnswerCloseFramesAsync(Count);
        await stopping;

        // The drain needs only six steps of 50 ms for 300 close frames. The drain does not use the whole window.
        Assert.InRange(Stopwatch.GetElapsedTime(started), TimeSpan.Zero, Margin);
        Assert.All(closes, close => Assert.Equal(1001, close.Code));
        Assert.Equal(0, app.Registry.Count);
        Assert.Equal(new Dictionary<string, long> { ["shutting_down"] = Count }, meters.ByReason(Meters.Ended));
        Assert.Equal(0, meters.Sum(Meters.Connections));
        var line = Assert.Single(app.Logs.GetSnapshot(), record => record.Level == LogLevel.Information && record.Category == "Broadcast");
        Assert.Contains("300", line.Message, StringComparison.Ordinal);
    }

    [Fact]
    public async Task Handshake_DuringDrain_IsRefusedWithStatus503()
    {
        await using var app = await BroadcastApp.StartAsync(options: options => options.DrainTimeout = TimeSpan.FromSeconds(25));
        await using var client = await RawClient.OpenAsync(app);
        await using var early = await RawClient.ConnectAsync(app);
        app.Services.GetRequiredService<IHostApplicationLifetime>().StopApplication();

        var answer = await early.HandshakeAsync();

        Assert.Equal(503, answer.Status);
        Assert.NotNull(answer["Retry-After"]);
        Assert.Equal(1001, await client.ClosedWithAsync());
    }

    [Fact]
    public async Task Drain_CloseFrameUnanswered_AbortsAtDrainTimeout()
    {
        // The window contains two steps for close frames, followed by a wait of half a second.
        var window = TimeSpan.FromMilliseconds(600);
        var clock = new DrainClock();
        await using var app = await BroadcastApp.StartAsync(
            builder => builder.Services.AddSingleton<TimeProvider>(clock),
            options: options => (options.DrainTimeout, options.CloseTimeout, options.KeepAliveInterval) = (window, TimeSpan.FromMinutes(1), Timeout.InfiniteTimeSpan));
        using var meters = new Meters(app);
        await using var answering = await ManyClients.OpenAsync(app, 100);
        await using var silent = await ManyClients.OpenAsync(app, 20);

        var stopping = app.StopAsync();
        var closes = answering.AnswerCloseFramesAsync(100);
        for (var step = 1; step <= 2; step++)
        {
            await clock.StepsAsync(step);
            clock.Advance(TimeSpan.FromMilliseconds(50));
        }

        await closes;
        await Eventually.True(() => app.Registry.Count == 20);
        await clock.LastWaitAsync();
        clock.Advance(TimeSpan.FromMilliseconds(499));
        Assert.Equal(20, app.Registry.Count);
        Assert.False(stopping.IsCompleted);
        clock.Advance(TimeSpan.FromMilliseconds(1));
        await stopping;

        Assert.Equal(0, app.Registry.Count);
        Assert.Equal(120, meters.ByReason(Meters.Ended)["shutting_down"]);
    }

    [Fact]
    public async Task Drain_ThousandClientsFiftyStalled_SpreadsCloseFramesWithinWindow()
    {
        const int Stalled = 50, Steps = 10;
        // The test uses 1,000 clients, or up to 5,000 with a higher Effort.Factor. At the normal pace, the window is
        // too short even for 1,000 clients.
        var count = (1_000 * Math.Min(Effort.Factor, 5)) - Stalled;
        var window = TimeSpan.FromSeconds(1);
        var clock = new DrainClock();
        await using var app = await BroadcastApp.StartAsync(
            builder =>
            {
                Stall.SmallSendBuffers(builder);
                builder.Services.AddSingleton<TimeProvider>(clock);
            },
            options: options => (options.DrainTimeout, options.CloseTimeout, options.KeepAliveInterval) = (window, TimeSpan.FromMinutes(1), Timeout.InfiniteTimeSpan));
        await using var stalled = await ManyClients.OpenAsync(app, Stalled);
        foreach (var connection in app.Registry.Connections)
        {
            for (var i = 0; i < 16; i++)
                await app.Broadcaster.PublishAsync(new byte[Stall.FillBytes / 16], Recipients.Connection(connection.Id), cancellationToken: TestContext.Current.CancellationToken);
        }

        await using var crowd = await ManyClients.OpenAsync(app, count);
        var connections = app.Registry.Connections.Cast<Connection>().ToArray();
        var stopping = app.StopAsync();
        var closes = crowd.AnswerCloseFramesAsync(count);

        // The drain spreads the close frames over half of the window. No step sends more than a quarter of the close frames.
        var notified = 0;
        for (var step = 0; step <= Steps; step++)
        {
            await clock.StepsAsync(Math.Min(step + 1, Steps));
            if (step == Steps) await Eventually.True(() => CountNotified() == connections.Length);
            Assert.InRange(CountNotified() - notified, 1, connections.Length / 4);
            notified = CountNotified();
            if (step < Steps) clock.Advance(window / 2 / Steps);
        }

        Assert.All(await closes, close => Assert.Equal(1001, close.Code));
        await Eventually.True(() => app.Registry.Count == Stalled);
        Assert.False(stopping.IsCompleted);
        await clock.LastWaitAsync();
        clock.Advance(window / 2);
        await stopping;
        Assert.Equal(0, app.Registry.Count);

        int CountNotified() => connections.Count(connection => connection.Writer.ClosingStatus is not null);
    }

    /// <summary>A manual clock that counts the waits of a drain.</summary>
    sealed class DrainClock : FakeTimeProvider
    {
        int _steps;
        int _lastWaits;

        public override ITimer CreateTimer(TimerCallback callback, object? state, TimeSpan dueTime, TimeSpan period)
        {
            var timer = base.CreateTimer(callback, state, dueTime, period);
            if (dueTime == TimeSpan.FromMilliseconds(50)) Interlocked.Increment(ref _steps);
            if (dueTime == TimeSpan.FromMilliseconds(500)) Interlocked.Increment(ref _lastWaits);
            return timer;
        }

        /// <summary>Waits until the drain has started at least the given number of waits between steps.</summary>
        public Task StepsAsync(int steps) => Eventually.True(() => Volatile.Read(ref _steps) >= steps);

        /// <summary>Waits until the drain has started its last wait, which lasts until the end of the window.</summary>
        public Task LastWaitAsync() => Eventually.True(() => Volatile.Read(ref _lastWaits) == 1);
    }
}
