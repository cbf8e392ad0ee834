using System.Diagnostics;
using Microsoft.AspNetCore.Builder;

namespace Broadcast.Middleware.Tests.Wire;

/// <summary>In real time, each with a second of silence before a ping and a second to answer it.</summary>
public sealed class KeepAliveTests
{
    static readonly TimeSpan Second = TimeSpan.FromSeconds(1);

    [Fact]
    public async Task A_client_that_answers_pings_stays_and_one_that_does_not_is_cut_off()
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
    public async Task A_client_that_sends_needs_no_ping_and_one_that_only_receives_is_pinged_between_messages()
    {
        await using var app = await StartAsync();
        await using var sending = await RawClient.OpenAsync(app);
        await using var receiving = await RawClient.OpenAsync(app);
        var messages = 0;

        // The sender gets its own messages and nothing else; the receiver is asked whether it is there all the same.
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
    public async Task A_client_whose_message_is_still_being_handled_is_not_cut_off()
    {
        var handled = new TaskCompletionSource();
        await using var app = await StartAsync(endpoint => endpoint.Use(async (context, next) =>
        {
            await handled.Task;
            await next(context);
        }));
        await using var client = await RawClient.OpenAsync(app);
        await client.SendAsync(ClientFrame.OfText("takes long"));

        // The time itself is what is tested: interval, timeout and some beats more.
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
