using System.Diagnostics;
using Microsoft.AspNetCore.Builder;
using Microsoft.Extensions.DependencyInjection;
using Microsoft.Extensions.Time.Testing;

namespace Broadcast.Middleware.Tests.Wire;

/// <summary>Each with a second of silence before a ping, a second to answer it, and four heartbeats a second.</summary>
public sealed class KeepAliveTests
{
    static readonly TimeSpan Second = TimeSpan.FromSeconds(1);

    readonly FakeTimeProvider _time = new();

    [Fact]
    public async Task SilentClient_WithoutPong_IsDisconnected()
    {
        await using var app = await StartAsync(_time);
        await using var answering = await RawClient.OpenAsync(app);
        await using var silent = await RawClient.OpenAsync(app);

        // The first beat begins to count the silence.
        await BeatAsync(app, 5);
        Assert.Equal(ClientFrame.Ping, (await silent.ReadFrameAsync()).Opcode);
        await AnswerAsync();
        await BeatAsync(app, 3);
        Assert.Equal(2, app.Registry.Count);
        await BeatAsync(app, 1);
        await silent.ReadEndAsync();
        await Eventually.True(() => app.Registry.Count == 1);
        for (var pings = 1; pings < 3; pings++)
        {
            // The beat after an answer begins to count again. The next ping comes four beats later.
            await BeatAsync(app, pings == 1 ? 1 : 5);
            await AnswerAsync();
        }

        await app.Broadcaster.PublishAsync("still here", cancellationToken: TestContext.Current.CancellationToken);
        Assert.Equal("still here", (await answering.ReadFrameAsync()).Text);
        LogAssert.NoErrors(app);

        async Task AnswerAsync()
        {
            var ping = await answering.ReadFrameAsync();
            Assert.Equal(ClientFrame.Ping, ping.Opcode);
            await answering.SendAsync(ClientFrame.Make(ClientFrame.Pong, ping.Payload));
            // When this comes back, the server has read the answer.
            await answering.JoinedAsync();
        }
    }

    [Fact]
    public async Task Ping_IsSentOnlyToClientsThatSendNothing()
    {
        await using var app = await StartAsync(_time);
        await using var sending = await RawClient.OpenAsync(app);
        await using var receiving = await RawClient.OpenAsync(app);

        // The sender gets its own messages and nothing else; the receiver is asked whether it is there all the same.
        for (var beats = 1; beats <= 5; beats++)
        {
            await BeatAsync(app, 1);
            if (beats == 5) Assert.Equal(ClientFrame.Ping, (await receiving.ReadFrameAsync()).Opcode);
            await sending.SendAsync(ClientFrame.OfText("tick"));
            foreach (var client in new[] { sending, receiving }) Assert.Equal("tick", (await client.ReadFrameAsync()).Text);
        }
    }

    [Fact]
    public async Task KeepAlive_WhileMessageIsHandled_DoesNotDisconnect()
    {
        var (entered, handled) = (new TaskCompletionSource(), new TaskCompletionSource());
        await using var app = await StartAsync(_time, endpoint => endpoint.Use(async (context, next) =>
        {
            entered.SetResult();
            await handled.Task;
            await next(context);
        }));
        await using var client = await RawClient.OpenAsync(app);
        await client.SendAsync(ClientFrame.OfText("takes long"));
        await entered.Task.WaitAsync(Eventually.Patience, TestContext.Current.CancellationToken);

        // Interval, timeout and some beats more.
        await BeatAsync(app, 14);
        handled.SetResult();

        Assert.Equal("takes long", (await client.ReadFrameAsync()).Text);
        Assert.Equal(1, app.Registry.Count);
    }

    /// <summary>The clock of the system drives the heartbeat too.</summary>
    [Fact]
    public async Task In_real_time_too_a_client_that_does_not_answer_is_cut_off()
    {
        await using var app = await StartAsync(TimeProvider.System);
        await using var silent = await RawClient.OpenAsync(app);
        var started = Stopwatch.GetTimestamp();

        Assert.Equal(ClientFrame.Ping, (await silent.ReadFrameAsync()).Opcode);
        await silent.ReadEndAsync();

        Assert.InRange(Stopwatch.GetElapsedTime(started), 1.5 * Second, Eventually.Patience);
        await Eventually.True(() => app.Registry.Count == 0);
    }

    async Task BeatAsync(BroadcastApp app, int beats)
    {
        for (; beats > 0; beats--)
        {
            _time.Advance(Second / 4);
            await app.SettleAsync();
        }
    }

    static Task<BroadcastApp> StartAsync(TimeProvider time, Action<BroadcastEndpointConventionBuilder>? configure = null) => BroadcastApp.StartAsync(
        builder => builder.Services.AddSingleton(time),
        app =>
        {
            var endpoint = app.MapBroadcast("/ws");
            configure?.Invoke(endpoint);
        },
        options => (options.KeepAliveInterval, options.KeepAliveTimeout) = (Second, Second));
}
