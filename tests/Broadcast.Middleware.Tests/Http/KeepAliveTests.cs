using System.Diagnostics;
using Microsoft.AspNetCore.Builder;
using Microsoft.Extensions.DependencyInjection;
using Microsoft.Extensions.Time.Testing;

namespace Broadcast.Middleware.Tests.Http;

/// <summary>
/// Tests keep-alive. The server pings after one second without data, waits one second for the pong, and has four
/// heartbeats per second.
/// </summary>
public sealed class KeepAliveTests
{
    static readonly TimeSpan Second = TimeSpan.FromSeconds(1);

    readonly FakeTimeProvider _time = new();

    [Fact]
    public async Task SilentClient_WithoutPong_IsDisconnected()
    {
        await using var app = await StartAsync(_time);
        await using var answering = await RawClient.OpenAsync(app);
        var answers = (Connection)app.Registry.Connections.Single();
        await using var silent = await RawClient.OpenAsync(app);
        var isSilent = app.Registry.Connections.Cast<Connection>().Single(connection => connection != answers);
        var (pingedAt, cutOffAt, lastPing) = (0, 0, 0);

        for (var (beat, pings) = (1, 0); pings < 3; beat++)
        {
            await BeatAsync(app, 1);
            if (cutOffAt == 0 && isSilent.EndReason == EndReason.KeepAliveTimeout)
            {
                cutOffAt = beat;
                await silent.ReadEndAsync();
            }
            else if (cutOffAt == 0 && await IsPingedAsync(app, isSilent, silent))
            {
                Assert.Equal(0, pingedAt);
                pingedAt = beat;
            }

            if (!await IsPingedAsync(app, answers, answering)) continue;
            // Four heartbeats take one second. This second starts one or two heartbeats late, because the server may
            // start its next read late.
            Assert.InRange(beat - lastPing, 5, 6);
            (lastPing, pings) = (beat, pings + 1);
            await answering.SendAsync(ClientFrame.Make(ClientFrame.Pong, []));
            // The server answers this ping only after it has read the pong.
            await answering.JoinedAsync();
        }

        Assert.InRange(pingedAt, 5, 6);
        Assert.Equal(pingedAt + 4, cutOffAt);
        await Eventually.True(() => app.Registry.Count == 1);
        await app.Broadcaster.PublishAsync("still here", cancellationToken: TestContext.Current.CancellationToken);
        Assert.Equal("still here", (await answering.ReadFrameAsync()).Text);
        LogAssert.NoErrors(app);
    }

    [Fact]
    public async Task KeepAlive_OneClientSends_PingsOnlyTheSilentClient()
    {
        await using var app = await StartAsync(_time);
        await using var sending = await RawClient.OpenAsync(app);
        await using var receiving = await RawClient.OpenAsync(app);

        // Both clients receive the messages of the sender. The server pings only the receiver, because the receiver sends nothing.
        var (beats, isPinged) = (0, false);
        for (; !isPinged; beats++)
        {
            await BeatAsync(app, 1);
            await sending.SendAsync(ClientFrame.CreateText("tick"));
            Assert.Equal("tick", (await sending.ReadFrameAsync()).Text);
            var frame = await receiving.ReadFrameAsync();
            isPinged = frame.Opcode == ClientFrame.Ping;
            Assert.Equal("tick", (isPinged ? await receiving.ReadFrameAsync() : frame).Text);
        }

        Assert.InRange(beats, 5, 6);
    }

    [Fact]
    public async Task KeepAlive_WhileMessageFilterRuns_DoesNotDisconnect()
    {
        var (entered, handled) = (new TaskCompletionSource(), new TaskCompletionSource());
        await using var app = await StartAsync(_time, endpoint => endpoint.Use(async (context, next) =>
        {
            entered.SetResult();
            await handled.Task;
            await next(context);
        }));
        await using var client = await RawClient.OpenAsync(app);
        await client.SendAsync(ClientFrame.CreateText("takes long"));
        await entered.Task.WaitAsync(Eventually.Patience, TestContext.Current.CancellationToken);

        // These 14 heartbeats take longer than the interval and the timeout together.
        await BeatAsync(app, 14);
        handled.SetResult();

        Assert.Equal("takes long", (await client.ReadFrameAsync()).Text);
        Assert.Equal(1, app.Registry.Count);
    }

    /// <summary>Tests that the heartbeat also runs on the system clock.</summary>
    [Fact]
    public async Task SilentClient_OnSystemClock_IsPingedThenDisconnected()
    {
        await using var app = await StartAsync(TimeProvider.System);
        await using var silent = await RawClient.OpenAsync(app);
        var started = Stopwatch.GetTimestamp();

        Assert.Equal(ClientFrame.Ping, (await silent.ReadFrameAsync()).Opcode);
        await silent.ReadEndAsync();

        Assert.InRange(Stopwatch.GetElapsedTime(started), 1.5 * Second, Eventually.Patience);
        await Eventually.True(() => app.Registry.Count == 0);
    }

    /// <summary>Publishes a message to the client, and returns true if a ping arrives before the message.</summary>
    static async Task<bool> IsPingedAsync(BroadcastApp app, Connection connection, RawClient client)
    {
        await app.Broadcaster.PublishAsync("beat", Recipients.Connection(connection.Id), cancellationToken: TestContext.Current.CancellationToken);
        var frame = await client.ReadFrameAsync();
        var isPinged = frame.Opcode == ClientFrame.Ping;
        Assert.Equal("beat", (isPinged ? await client.ReadFrameAsync() : frame).Text);
        return isPinged;
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
