using System.Net.WebSockets;
using Microsoft.AspNetCore.Builder;
using Microsoft.Extensions.DependencyInjection;
using Microsoft.Extensions.Time.Testing;

namespace Broadcast.Middleware.Tests.Http;

/// <summary>Tests control frames that arrive while a message filter runs.</summary>
public sealed class SlowFilterTests
{
    [Fact]
    public async Task Ping_DuringSlowFilter_IsAnswered()
    {
        using var filter = new BlockingFilter(Stage.Message, Blocking.Task);
        await using var app = await StartAsync(filter);
        await using var client = await OpenAsync(app);
        await client.SendAsync(ClientFrame.CreateText("slow"));
        await filter.Entered;

        for (var i = 0; i < 20; i++)
        {
            await client.SendAsync(ClientFrame.Make(ClientFrame.Ping, [(byte)i]));
            var pong = await client.ReadFrameAsync();
            Assert.Equal((ClientFrame.Pong, (byte)i), (pong.Opcode, pong.Payload.Single()));
        }

        // The server processes one message at a time. So the second message waits, and the ping behind it also waits.
        await client.SendAsync(ClientFrame.CreateText("next"), ClientFrame.Make(ClientFrame.Ping, []));
        await app.PublishAsync("other");
        Assert.Equal("other", (await client.ReadFrameAsync()).Text);
        filter.Release();

        // A pong may overtake a message.
        var frames = new List<ServerFrame>();
        while (frames.Count < 3) frames.Add(await client.ReadFrameAsync());
        Assert.Equal(["slow", "next"], frames.Where(static frame => frame.Opcode == ClientFrame.Text).Select(static frame => frame.Text));
        Assert.Single(frames, static frame => frame.Opcode == ClientFrame.Pong);
        await client.LeaveAsync();
        LogAssert.NoErrors(app);
    }

    /// <summary>Tests that one timer watches all messages of a connection.</summary>
    [Fact]
    public async Task Ping_DuringSlowFilterAfterShortFilter_IsAnswered()
    {
        var time = new TimerCounter();
        var released = new TaskCompletionSource();
        await using var app = await BroadcastApp.StartAsync(
            builder => builder.Services.AddSingleton<TimeProvider>(time),
            app => app.MapBroadcast("/ws").Use(async (context, next) =>
            {
                if (context.Text == "slow") await released.Task;
                else await Task.Yield();
                await next(context);
            }),
            options => options.KeepAliveInterval = options.SendTimeout = Timeout.InfiniteTimeSpan);
        await using var client = await RawClient.OpenAsync(app);
        for (var i = 0; i < 100; i++)
        {
            await client.SendAsync(ClientFrame.CreateText($"{i}"));
            Assert.Equal($"{i}", (await client.ReadFrameAsync()).Text);
        }

        Assert.InRange(time.Started, 0, 1);
        await client.SendAsync(ClientFrame.CreateText("slow"), ClientFrame.Make(ClientFrame.Ping, [7]));
        var answer = client.ReadFrameAsync();
        await Eventually.True(() =>
        {
            time.Advance(TimeSpan.FromSeconds(1));
            return answer.IsCompleted;
        });

        Assert.Equal(ClientFrame.Pong, (await answer).Opcode);
        released.SetResult();
        Assert.Equal("slow", (await client.ReadFrameAsync()).Text);
        await client.LeaveAsync();
        LogAssert.NoErrors(app);
    }

    [Theory]
    [InlineData(1000)]
    [InlineData(4001)]
    public async Task Close_DuringSlowFilter_IsAnswered(int code)
    {
        using var filter = new BlockingFilter(Stage.Message, Blocking.Task);
        var status = new TaskCompletionSource<WebSocketCloseStatus?>();
        await using var app = await StartAsync(filter, (context, next) =>
        {
            status.SetResult(context.Status);
            return next(context);
        });
        using var meters = new Meters(app);
        var client = await OpenAsync(app);
        await client.SendAsync(ClientFrame.CreateText("slow"));
        await filter.Entered;

        await client.SendAsync(ClientFrame.CreateClose(code));
        Assert.Equal(code, (await client.ReadFrameAsync()).CloseCode);
        filter.Release();

        await client.ReadEndAsync();
        Assert.Equal((WebSocketCloseStatus)code, await status.Task.WaitAsync(Eventually.Patience, TestContext.Current.CancellationToken));
        await Eventually.True(() => app.Registry.Count == 0);
        Assert.Equal(new Dictionary<string, long> { ["closed_by_peer"] = 1 }, meters.ByReason(Meters.Ended));
        LogAssert.NoErrors(app);
    }

    /// <summary>Tests a client that sends a request and closes immediately. Such a client usually still expects the answer.</summary>
    [Fact]
    public async Task Close_DuringShortFilter_IsAnsweredAfterMessage()
    {
        await using var app = await BroadcastApp.StartAsync(
            // After one second, the server answers control frames while the filter runs. On this clock, no time passes.
            builder => builder.Services.AddSingleton<TimeProvider>(new FakeTimeProvider()),
            app => app.MapBroadcast("/ws").Use(async (context, next) =>
            {
                await Task.Yield();
                await next(context);
            }));
        for (var i = 0; i < 50; i++)
        {
            await using var client = await RawClient.OpenAsync(app);
            await client.SendAsync((byte[])[.. ClientFrame.CreateText("question"), .. ClientFrame.CreateClose(1000)]);
            Assert.Equal("question", (await client.ReadFrameAsync()).Text);
            Assert.Equal(1000, (await client.ReadFrameAsync()).CloseCode);
        }
    }

    [Fact]
    public async Task Disconnect_DuringSlowFilter_CancelsConnectionAborted()
    {
        using var filter = new BlockingFilter(Stage.Message, Blocking.UntilAborted);
        await using var app = await StartAsync(filter);
        var client = await OpenAsync(app);
        await client.SendAsync(ClientFrame.CreateText("slow"));
        await filter.Entered;

        client.Reset();

        await Eventually.True(() => app.Registry.Count == 0);
        LogAssert.NoErrors(app);
    }

    [Fact]
    public async Task ProtocolError_DuringSlowFilter_ClosesWithinCloseTimeout()
    {
        using var filter = new BlockingFilter(Stage.Message, Blocking.Task);
        await using var app = await StartAsync(filter, options: options => options.CloseTimeout = TimeSpan.FromMilliseconds(500));
        using var meters = new Meters(app);
        await using var client = await OpenAsync(app);
        await client.SendAsync(ClientFrame.CreateText("slow"));
        await filter.Entered;

        await client.SendAsync(ClientFrame.Make(3, []));

        Assert.Equal(1002, (await client.ReadFrameAsync()).CloseCode);
        await client.ReadEndAsync();
        filter.Release();
        await Eventually.True(() => app.Registry.Count == 0);
        Assert.Equal(new Dictionary<string, long> { ["protocol_error"] = 1 }, meters.ByReason(Meters.Ended));
        LogAssert.NoErrors(app);
    }

    static Task<BroadcastApp> StartAsync(
        BlockingFilter filter,
        Func<DisconnectContext, FilterDelegate<DisconnectContext>, Task>? onDisconnect = null,
        Action<BroadcastOptions>? options = null) => BroadcastApp.StartAsync(
        builder =>
        {
            TestUsers.Add(builder);
            builder.Services.AddSingleton(filter);
        },
        app =>
        {
            var endpoint = app.MapBroadcast("/ws").Use<BlockingFilter>();
            if (onDisconnect is not null) endpoint.UseDisconnect(onDisconnect);
        },
        options);

    static Task<RawClient> OpenAsync(BroadcastApp app) => RawClient.OpenAsync(app, TestUsers.As("it"));

    /// <summary>
    /// A manual clock that counts timers of one second. The server uses such a timer to detect a slow message filter.
    /// </summary>
    sealed class TimerCounter : FakeTimeProvider
    {
        int _started;

        public int Started => Volatile.Read(ref _started);

        public override ITimer CreateTimer(TimerCallback callback, object? state, TimeSpan dueTime, TimeSpan period)
        {
            if (dueTime == TimeSpan.FromSeconds(1)) Interlocked.Increment(ref _started);
            return base.CreateTimer(callback, state, dueTime, period);
        }
    }
}
