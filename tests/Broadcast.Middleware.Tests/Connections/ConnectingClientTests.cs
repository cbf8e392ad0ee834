using Microsoft.AspNetCore.Builder;
using Microsoft.Extensions.DependencyInjection;
using Microsoft.Extensions.Time.Testing;

namespace Broadcast.Middleware.Tests.Connections;

/// <summary>Tests the timeouts and the heartbeat of a connection whose connect filter still runs.</summary>
public sealed class ConnectingClientTests
{
    readonly FakeTimeProvider _time = new();

    [Fact]
    public async Task ConnectingClient_AuthenticationExpires_IsClosedWithCode1008()
    {
        using var filter = new BlockingFilter(Stage.Connect, Blocking.Task);
        await using var app = await StartAsync(filter);
        using var meters = new Meters(app);
        await using var client = await ConnectAsync(app, filter, TestUsers.Until(_time.GetUtcNow() + TimeSpan.FromMinutes(1)));

        _time.Advance(TimeSpan.FromMinutes(2));

        await EndsAsync(app, meters, filter, client, "authentication_expired");
    }

    [Fact]
    public async Task ConnectingClient_NoFirstMessageInTime_IsClosedWithCode1008()
    {
        using var filter = new BlockingFilter(Stage.Connect, Blocking.Task);
        await using var app = await StartAsync(filter, options => options.FirstMessageTimeout = TimeSpan.FromSeconds(10));
        using var meters = new Meters(app);
        await using var client = await ConnectAsync(app, filter);

        _time.Advance(TimeSpan.FromSeconds(13));

        await EndsAsync(app, meters, filter, client, "first_message_timeout");
    }

    [Fact]
    public async Task ConnectingClient_ReadsNothing_IsAbortedAfterSendTimeout()
    {
        using var filter = new BlockingFilter(Stage.Connect, Blocking.UntilAborted);
        await using var app = await StartAsync(filter);
        using var meters = new Meters(app);
        await using var client = await ConnectAsync(app, filter);
        var connection = (Connection)Assert.Single(app.Registry.Connections);
        await Stall.FillAsync(app, meters, connection.Id);

        _time.Advance(TimeSpan.FromSeconds(5));
        await PumpBarrier.PassAsync(connection.Writer.Pump);
        Assert.Equal(0, meters.Sum(Meters.Ended));

        // The abort of the connection cancels the connect filter. The bytes that fill the receive buffer of the client's operating system
        // count as progress. So advance the clock until the server aborts the connection.
        await Eventually.True(() =>
        {
            _time.Advance(TimeSpan.FromSeconds(1));
            return app.Registry.Count == 0;
        });
        Assert.Equal(new Dictionary<string, long> { ["send_timeout"] = 1 }, meters.ByReason(Meters.Ended));
        LogAssert.NoErrors(app);
    }

    [Fact]
    public async Task ConnectingClient_KeepAliveIntervalPasses_ReceivesNoPing()
    {
        using var filter = new BlockingFilter(Stage.Connect, Blocking.Task);
        await using var app = await StartAsync(
            filter, options => options.KeepAliveInterval = options.KeepAliveTimeout = TimeSpan.FromSeconds(10));
        await using var client = await ConnectAsync(app, filter);

        for (var i = 0; i < 20; i++)
        {
            _time.Advance(TimeSpan.FromSeconds(3));
            await app.SettleAsync();
        }

        filter.Release();

        // If the server had sent a ping, the ping would arrive before this pong.
        await client.AssertOpenAsync();
    }

    [Theory]
    [InlineData("admitted")]
    [InlineData("refused")]
    [InlineData("failed")]
    [InlineData("disconnected")]
    public async Task ConnectingClient_AdmittedOrEnded_IsRemovedFromHeartbeat(string outcome)
    {
        using var filter = new BlockingFilter(Stage.Connect, Blocking.Task);
        await using var app = await BroadcastApp.StartAsync(
            builder =>
            {
                TestUsers.Add(builder);
                builder.Services.AddSingleton(filter);
            },
            app => app.MapBroadcast("/ws").Use<BlockingFilter>().UseConnect((context, next) => outcome switch
            {
                "refused" => Task.CompletedTask,
                "failed" => throw new InvalidOperationException("boom"),
                _ => next(context),
            }));
        var heartbeat = app.Services.GetRequiredKeyedService<BroadcastInstance>("").Heartbeat;
        await using var client = await ConnectAsync(app, filter);

        if (outcome == "disconnected") client.Reset();
        filter.Release();
        if (outcome is "refused" or "failed") await client.ClosedWithAsync();

        await Eventually.True(() => app.Registry.Count == (outcome == "admitted" ? 1 : 0) && heartbeat.JoiningWriters == 0);
    }

    static async Task<RawClient> ConnectAsync(BroadcastApp app, BlockingFilter filter, params (string, string?)[] headers)
    {
        var client = await RawClient.ConnectAsync(app, Stall.SmallWindow);
        Assert.Equal(101, (await client.HandshakeAsync("/ws", [TestUsers.As("it"), .. headers])).Status);
        await filter.Entered;
        // The endpoint adds the connection to the heartbeat only if the connect filter does not complete immediately.
        var heartbeat = app.Services.GetRequiredKeyedService<BroadcastInstance>("").Heartbeat;
        await Eventually.True(() => heartbeat.JoiningWriters == 1);
        return client;
    }

    static async Task EndsAsync(BroadcastApp app, Meters meters, BlockingFilter filter, RawClient client, string reason)
    {
        Assert.Equal(1008, (await client.ReadCloseAsync()).CloseCode);
        await client.SendAsync(ClientFrame.CreateClose(1008));
        filter.Release();
        await client.ReadEndAsync();
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
