using Microsoft.AspNetCore.Builder;
using Microsoft.Extensions.DependencyInjection;
using Microsoft.Extensions.Time.Testing;

namespace Broadcast.Middleware.Tests.Connections;

/// <summary>Tests that timeouts also apply to a connection whose connect filter still runs.</summary>
public sealed class HeldConnectionTests
{
    readonly FakeTimeProvider _time = new();

    [Fact]
    public async Task HeldConnection_AuthenticationExpires_IsClosedWith1008()
    {
        using var filter = new BlockingFilter(Stage.Connect, Blocking.Task);
        await using var app = await StartAsync(filter);
        using var meters = new Meters(app);
        await using var it = await HeldAsync(app, filter, TestUsers.Until(_time.GetUtcNow() + TimeSpan.FromMinutes(1)));

        _time.Advance(TimeSpan.FromMinutes(2));

        await EndsAsync(app, meters, filter, it, "authentication_expired");
    }

    [Fact]
    public async Task HeldConnection_NoFirstMessageInTime_IsClosedWith1008()
    {
        using var filter = new BlockingFilter(Stage.Connect, Blocking.Task);
        await using var app = await StartAsync(filter, options => options.FirstMessageTimeout = TimeSpan.FromSeconds(10));
        using var meters = new Meters(app);
        await using var it = await HeldAsync(app, filter);

        _time.Advance(TimeSpan.FromSeconds(13));

        await EndsAsync(app, meters, filter, it, "first_message_timeout");
    }

    [Fact]
    public async Task HeldConnection_ReadsNothing_IsAbortedAfterSendTimeout()
    {
        using var filter = new BlockingFilter(Stage.Connect, Blocking.UntilAborted);
        await using var app = await StartAsync(filter);
        using var meters = new Meters(app);
        await using var it = await HeldAsync(app, filter);
        var connection = (Connection)Assert.Single(app.Registry.Connections);
        await Stall.FillAsync(app, meters, connection.Id);

        _time.Advance(TimeSpan.FromSeconds(5));
        await PumpBarrier.PassAsync(connection.Writer.Pump);
        Assert.Equal(0, meters.Sum(Meters.Ended));
        _time.Advance(TimeSpan.FromSeconds(10));

        // The request's token cancels the filter.
        await Eventually.True(() => app.Registry.Count == 0);
        Assert.Equal(new Dictionary<string, long> { ["send_timeout"] = 1 }, meters.ByReason(Meters.Ended));
        LogAssert.NoErrors(app);
    }

    [Fact]
    public async Task HeldConnection_KeepAliveIntervalPasses_ReceivesNoPing()
    {
        using var filter = new BlockingFilter(Stage.Connect, Blocking.Task);
        await using var app = await StartAsync(
            filter, options => options.KeepAliveInterval = options.KeepAliveTimeout = TimeSpan.FromSeconds(10));
        await using var it = await HeldAsync(app, filter);

        for (var i = 0; i < 20; i++)
        {
            _time.Advance(TimeSpan.FromSeconds(3));
            await app.SettleAsync();
        }

        filter.Release();

        // A ping would arrive before the pong.
        await it.IsThereAsync();
    }

    [Theory]
    [InlineData("let in")]
    [InlineData("refused")]
    [InlineData("failed")]
    [InlineData("lost")]
    public async Task HeldConnection_AdmittedOrEnded_LeavesHeartbeatList(string what)
    {
        using var filter = new BlockingFilter(Stage.Connect, Blocking.Task);
        await using var app = await BroadcastApp.StartAsync(
            builder =>
            {
                TestUsers.Add(builder);
                builder.Services.AddSingleton(filter);
            },
            app => app.MapBroadcast("/ws").Use<BlockingFilter>().UseConnect((context, next) => what switch
            {
                "refused" => Task.CompletedTask,
                "failed" => throw new InvalidOperationException("boom"),
                _ => next(context),
            }));
        var heartbeat = app.Services.GetRequiredKeyedService<BroadcastInstance>("").Heartbeat;
        await using var it = await HeldAsync(app, filter);

        if (what == "lost") it.Reset();
        filter.Release();
        if (what is "refused" or "failed") await it.ClosedWithAsync();

        await Eventually.True(() => app.Registry.Count == (what == "let in" ? 1 : 0) && heartbeat.JoiningWriters == 0);
    }

    static async Task<RawClient> HeldAsync(BroadcastApp app, BlockingFilter filter, params (string, string?)[] headers)
    {
        var client = await RawClient.ConnectAsync(app, Stall.SmallWindow);
        Assert.Equal(101, (await client.HandshakeAsync("/ws", [TestUsers.As("it"), .. headers])).Status);
        await filter.Entered;
        // The filter runs before the endpoint sees that it waits. Only then the connection gets heartbeats of its own.
        var heartbeat = app.Services.GetRequiredKeyedService<BroadcastInstance>("").Heartbeat;
        await Eventually.True(() => heartbeat.JoiningWriters == 1);
        return client;
    }

    static async Task EndsAsync(BroadcastApp app, Meters meters, BlockingFilter filter, RawClient it, string reason)
    {
        Assert.Equal(1008, (await it.ReadCloseAsync()).CloseCode);
        await it.SendAsync(ClientFrame.OfClose(1008));
        filter.Release();
        await it.ReadEndAsync();
        await Eventually.True(() => app.Registry.Count == 0);
        Assert.Equal(new Dictionary<string, long> { [reason] = 1 }, meters.ByReason(Meters.Ended));
        LogAssert.NoErrors(app);
    }

    Task<BroadcastApp> StartAsync(BlockingFilter filter, Action<BroadcastOptions>? options = null) => BroadcastApp.StartAsync(
        builder =>
        {
            TestUsers.Add(builder);
            Stall.SmallSendBuffers(builder);
            builder.Services.AddSingleton<TimeProvider>(_time).AddSingleton(filter);
        },
        app => app.MapBroadcast("/ws").Use<BlockingFilter>(),
        all =>
        {
            all.KeepAliveInterval = Timeout.InfiniteTimeSpan;
            options?.Invoke(all);
        });
}
