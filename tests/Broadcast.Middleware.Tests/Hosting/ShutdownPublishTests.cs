using System.Collections.Concurrent;
using Microsoft.AspNetCore.Builder;
using Microsoft.AspNetCore.Hosting;
using Microsoft.Extensions.DependencyInjection;
using Microsoft.Extensions.Hosting;
using Microsoft.Extensions.Logging;
using Microsoft.Extensions.Time.Testing;

namespace Broadcast.Middleware.Tests.Hosting;

/// <summary>Tests messages that the app publishes while it shuts down.</summary>
public sealed class ShutdownPublishTests
{
    static CancellationToken Token => TestContext.Current.CancellationToken;

    /// <summary>The order in which the host stops the hosted service and the server.</summary>
    public enum Order
    {
        AfterServer,
        BeforeServer,
        Concurrent,
    }

    [Theory]
    [InlineData(Order.AfterServer)]
    [InlineData(Order.BeforeServer)]
    [InlineData(Order.Concurrent)]
    public async Task Publish_InStopOfHostedService_ReachesClientsBeforeClose(Order order)
    {
        await using var app = await BroadcastApp.StartAsync(builder =>
        {
            if (order == Order.BeforeServer) builder.Host.ConfigureContainer<IServiceCollection>((_, services) => services.AddHostedService<Goodbye>());
            else builder.Services.AddHostedService<Goodbye>();
            if (order == Order.Concurrent) builder.Services.Configure<HostOptions>(host => host.ServicesStopConcurrently = true);
        });
        await using var socket = await RawClient.OpenAsync(app);
        await using var reliable = await ReliableClient.OpenAsync(app);
        await using var events = await EventClient.OpenAsync(app);

        var stopping = app.StopAsync();

        foreach (var text in new[] { "stopping", "stop" })
        {
            Assert.Equal(text, (await socket.ReadFrameAsync()).Text);
            await reliable.ReceivesAsync(text);
            Assert.Equal([text], await events.ReceiveTextAsync(1));
        }

        Assert.Equal(1001, await socket.ClosedWithAsync());
        Assert.Equal(1001, await reliable.Transport.ClosedWithAsync());
        Assert.StartsWith("1001 ", await events.ReadCloseAsync(), StringComparison.Ordinal);
        await stopping.WaitAsync(Eventually.Patience, Token);
        LogAssert.NoErrors(app);
    }

    [Fact]
    public async Task Stop_OtherRequestRuns_HostedServiceStopsAfterTheRequest()
    {
        var release = new TaskCompletionSource();
        var running = new TaskCompletionSource();
        var steps = new ConcurrentQueue<string>();
        await using var app = await BroadcastApp.StartAsync(
            builder => builder.Services.AddHostedService(_ => new Recorder(() => steps.Enqueue("service"))),
            map =>
            {
                map.MapBroadcast("/ws");
                map.MapGet("/slow", async () =>
                {
                    running.SetResult();
                    await release.Task;
                    steps.Enqueue("request");
                });
            });
        await using var client = await RawClient.OpenAsync(app);
        using var http = new HttpClient();
        var slow = http.GetAsync(new Uri($"http://localhost:{app.Port}/slow"), Token);
        await running.Task.WaitAsync(Eventually.Patience, Token);

        var stopping = app.StopAsync();
        // The server refuses new connections and still delivers messages to the open connection.
        await Eventually.True(() => app.Inside().Connections.IsStopping);
        await client.AssertOpenAsync();
        Assert.Empty(steps);
        release.SetResult();

        Assert.Equal(1001, await client.ClosedWithAsync());
        (await slow).Dispose();
        await stopping.WaitAsync(Eventually.Patience, Token);
        Assert.Equal(["request", "service"], steps);
    }

    [Fact]
    public async Task Start_KestrelAddedAfterBroadcast_LogsWarning()
    {
        await using var app = await BroadcastApp.StartAsync(builder =>
        {
            builder.WebHost.UseKestrel();
            builder.Services.AddHostedService<Goodbye>();
        });

        var warning = Assert.Single(app.Logs.GetSnapshot(), record => record.Level == LogLevel.Warning).Message;

        Assert.Contains("UseKestrel", warning, StringComparison.Ordinal);
        await using var client = await RawClient.OpenAsync(app);
        var stopping = app.StopAsync();
        Assert.Equal(1001, await client.ClosedWithAsync());
        await stopping.WaitAsync(Eventually.Patience, Token);
    }

    [Fact]
    public async Task Stop_HostedServiceHangs_EndsWithinShutdownTimeout()
    {
        await using var app = await BroadcastApp.StartAsync(
            builder =>
            {
                builder.Services.Configure<HostOptions>(host => host.ShutdownTimeout = TimeSpan.FromSeconds(2));
                builder.Services.AddSingleton<IHostedService>(new Hanging());
            },
            options: options => options.DrainTimeout = TimeSpan.FromSeconds(1));
        await using var client = await RawClient.OpenAsync(app);

        var stopping = app.StopAsync();
        // The host reports that it has canceled the hosted service.
        var problem = await Record.ExceptionAsync(() => stopping.WaitAsync(Eventually.Patience, Token));
        Assert.True(stopping.IsCompleted, "The host does not stop.");
        Assert.NotNull(problem);

        await client.ReadEndAsync();
        await Eventually.True(() => app.Registry.Count == 0);
    }

    /// <summary>The drain must not wait for the end of a service or request that hangs. Otherwise, the host aborts all connections.</summary>
    [Theory]
    [InlineData(true)]
    [InlineData(false)]
    public async Task Stop_ServiceOrRequestHangs_ConnectionsCloseBeforeShutdownTimeout(bool isRequest)
    {
        var (time, release, running) = (new FakeTimeProvider(), new TaskCompletionSource(), new TaskCompletionSource());
        var (shutdownTimeout, drainTimeout) = (TimeSpan.FromHours(1), TimeSpan.FromSeconds(20));
        await using var app = await BroadcastApp.StartAsync(
            builder =>
            {
                builder.Services.Configure<HostOptions>(host => host.ShutdownTimeout = shutdownTimeout);
                builder.Services.AddSingleton<TimeProvider>(time).AddSingleton<IHostedService>(new Stubborn(isRequest ? Task.CompletedTask : release.Task));
            },
            map =>
            {
                map.MapBroadcast("/ws");
                map.MapGet("/slow", async () =>
                {
                    running.SetResult();
                    await release.Task;
                });
            },
            options => (options.DrainTimeout, options.KeepAliveInterval) = (drainTimeout, Timeout.InfiniteTimeSpan));
        await using var client = await RawClient.OpenAsync(app);
        using var http = new HttpClient();
        var slow = Task.CompletedTask;
        if (isRequest)
        {
            slow = http.GetAsync(new Uri($"http://localhost:{app.Port}/slow"), Token);
            await running.Task.WaitAsync(Eventually.Patience, Token);
        }

        var stopping = app.StopAsync();
        await Eventually.True(() => app.Inside().Connections.IsStopping);
        try
        {
            time.Advance(shutdownTimeout - drainTimeout - TimeSpan.FromSeconds(1));
            await client.AssertOpenAsync();
            time.Advance(TimeSpan.FromSeconds(1));

            Assert.Equal(1001, await client.ClosedWithAsync());
            await Eventually.True(() => app.Registry.Count == 0);
            Assert.False(stopping.IsCompleted);
        }
        finally
        {
            // Without this release, a failed test would wait for the shutdown timeout.
            release.SetResult();
        }

        await slow;
        await stopping.WaitAsync(Eventually.Patience, Token);
        LogAssert.NoErrors(app);
    }

    sealed class Goodbye(IBroadcaster broadcaster) : IHostedLifecycleService
    {
        public Task StartingAsync(CancellationToken cancellationToken) => Task.CompletedTask;

        public Task StartAsync(CancellationToken cancellationToken) => Task.CompletedTask;

        public Task StartedAsync(CancellationToken cancellationToken) => Task.CompletedTask;

        public async Task StoppingAsync(CancellationToken cancellationToken) =>
            await broadcaster.PublishAsync("stopping", cancellationToken: cancellationToken);

        public async Task StopAsync(CancellationToken cancellationToken) =>
            await broadcaster.PublishAsync("stop", cancellationToken: cancellationToken);

        public Task StoppedAsync(CancellationToken cancellationToken) => Task.CompletedTask;
    }

    sealed class Recorder(Action onStop) : IHostedService
    {
        public Task StartAsync(CancellationToken cancellationToken) => Task.CompletedTask;

        public Task StopAsync(CancellationToken cancellationToken)
        {
            onStop();
            return Task.CompletedTask;
        }
    }

    /// <summary>A hosted service that ignores the cancellation token of the shutdown.</summary>
    sealed class Stubborn(Task stop) : IHostedService
    {
        public Task StartAsync(CancellationToken cancellationToken) => Task.CompletedTask;

        public Task StopAsync(CancellationToken cancellationToken) => stop;
    }

    sealed class Hanging : IHostedService
    {
        public Task StartAsync(CancellationToken cancellationToken) => Task.CompletedTask;

        public Task StopAsync(CancellationToken cancellationToken) => Task.Delay(Timeout.Infinite, cancellationToken);
    }
}
