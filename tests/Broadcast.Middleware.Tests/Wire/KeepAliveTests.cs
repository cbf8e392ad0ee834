using System.Diagnostics;
using Microsoft.AspNetCore.Builder;

namespace Broadcast.Middleware.Tests.Wire;

/// <summary>These tests use real time: one second until a ping, and one second for the answer.</summary>
public sealed class KeepAliveTests
{
    static readonly TimeSpan Second = TimeSpan.FromSeconds(1);

    [Fact]
    public async Task SilentClient_WithoutPong_IsDisconnected()
    {
        await using var app = await StartAsync();
        await using var answering = await RawClient.OpenAsync(app);
        await using var silent = await RawClient.OpenAsync(app);
        var started = Stopwatch.GetTimestamp();

        var cutOff = CutOffAsync();
        for (var pings = 0; pings < 3; pings++)
        {
            var ping = await answering.ReadFrameAsync();
            Assert.Equal(ClientFrame.Ping, ping.Opcode);
            await answering.SendAsync(ClientFrame.Make(ClientFrame.Pong, ping.Payload));
        }

        Assert.InRange(Stopwatch.GetElapsedTime(started), 2.5 * Second, 6 * Second);
        Assert.InRange(await cutOff, 1.5 * Second, 4 * Second);
        await Eventually.True(() => app.Registry.Count == 1);
        await app.Broadcaster.PublishAsync("still here", cancellationToken: TestContext.Current.CancellationToken);
        Assert.Equal("still here", (await answering.ReadFrameAsync()).Text);
        LogAssert.NoErrors(app);

        async Task<TimeSpan> CutOffAsync()
        {
            Assert.Equal(ClientFrame.Ping, (await silent.ReadFrameAsync()).Opcode);
            await silent.ReadEndAsync();
            return Stopwatch.GetElapsedTime(started);
        }
    }

    [Fact]
    public async Task Ping_IsSentOnlyToClientsThatSendNothing()
    {
        await using var app = await StartAsync();
        await using var sending = await RawClient.OpenAsync(app);
        await using var receiving = await RawClient.OpenAsync(app);
        var messages = 0;

        // The sender receives only its own messages. The receiver also receives pings.
        var pinged = PingedAsync();
        while (!pinged.IsCompleted)
        {
            await sending.SendAsync(ClientFrame.OfText("tick"));
            Assert.Equal(ClientFrame.Text, (await sending.ReadFrameAsync()).Opcode);
            messages++;
            await Task.Delay(100, TestContext.Current.CancellationToken);
        }

        await pinged;
        Assert.InRange(messages, 5, int.MaxValue);

        async Task PingedAsync()
        {
            while ((await receiving.ReadFrameAsync()).Opcode != ClientFrame.Ping)
            {
            }
        }
    }

    [Fact]
    public async Task KeepAlive_WhileMessageIsHandled_DoesNotDisconnect()
    {
        var handled = new TaskCompletionSource();
        await using var app = await StartAsync(endpoint => endpoint.Use(async (context, next) =>
        {
            await handled.Task;
            await next(context);
        }));
        await using var client = await RawClient.OpenAsync(app);
        await client.SendAsync(ClientFrame.OfText("takes long"));

        // This test needs real time: the interval, the timeout and a few heartbeats.
        await Task.Delay(3.5 * Second, TestContext.Current.CancellationToken);
        handled.SetResult();

        Assert.Equal("takes long", (await client.ReadFrameAsync()).Text);
        Assert.Equal(1, app.Registry.Count);
    }

    static Task<BroadcastApp> StartAsync(Action<BroadcastEndpointConventionBuilder>? configure = null) => BroadcastApp.StartAsync(
        options: options => (options.KeepAliveInterval, options.KeepAliveTimeout) = (Second, Second),
        map: app =>
        {
            var endpoint = app.MapBroadcast("/ws");
            configure?.Invoke(endpoint);
        });
}
