using System.Diagnostics;
using Microsoft.AspNetCore.Builder;
using Microsoft.Extensions.DependencyInjection;
using Microsoft.Extensions.Hosting;
using Microsoft.Extensions.Time.Testing;

namespace Broadcast.Middleware.Tests.Filters;

/// <summary>Tests that a blocked filter blocks only its own connection.</summary>
public sealed class BlockedFilterTests
{
    // The tests set DrainTimeout to this value. The server sends a close frame to a busy client after three quarters of DrainTimeout.
    static readonly TimeSpan Window = TimeSpan.FromSeconds(3);

    // This limit is long enough for a busy machine, but shorter than each timeout that could end a connection by mistake.
    static readonly TimeSpan Margin = TimeSpan.FromSeconds(15);

    public static MatrixTheoryData<Stage, Blocking> Blocks => new([Stage.Connect, Stage.Message, Stage.Disconnect], [Blocking.Task, Blocking.Thread]);

    [Theory]
    [MemberData(nameof(Blocks))]
    public async Task BlockedFilter_OfOneConnection_DoesNotBlockOtherConnections(Stage stage, Blocking blocking)
    {
        using var filter = new BlockingFilter(stage, blocking);
        await using var app = await StartAsync(filter);
        using var meters = new Meters(app);
        await using var ann = await RawClient.OpenAsync(app, TestUsers.As("ann"));
        await using var bob = await RawClient.OpenAsync(app, TestUsers.As("bob"));
        await using var it = await BlockAsync(app, filter);

        for (var i = 0; i < 50; i++)
        {
            await TalkAsync(ann, bob, $"{i}");
            // The server processes no message from the blocked client, but still sends messages to it.
            if (stage == Stage.Message) Assert.Equal($"{i}", (await it.ReadFrameAsync()).Text);
        }

        // Another client connects and disconnects.
        var late = await RawClient.OpenAsync(app, TestUsers.As("late"));
        await late.LeaveAsync();
        // The registry does not count a closed connection, even if its disconnect filter still runs.
        var there = stage == Stage.Disconnect ? 2 : 3;
        await Eventually.True(() => app.Registry.Count == there && meters.Sum(Meters.Connections) == there);
        await Eventually.True(() => app.Registry.CountGroupMembers("/ws") == (stage == Stage.Message ? 3 : 2));

        filter.Release();

        if (stage != Stage.Disconnect) await it.LeaveAsync();
        else await it.ReadEndAsync();
        await Eventually.True(() => app.Registry.Count == 2 && meters.Sum(Meters.Connections) == 2);
        await Eventually.True(() => app.Registry.CountGroupMembers("/ws") == 2);
        Assert.Equal(new Dictionary<string, long> { ["closed_by_peer"] = 2 }, meters.ByReason(Meters.Ended));
        await ReceiveFromBlockedAsync(stage, ann, bob);
        await TalkAsync(bob, ann, "still here");
        LogAssert.NoErrors(app);
    }

    [Theory]
    [InlineData(Stage.Connect, Blocking.Task)]
    [InlineData(Stage.Connect, Blocking.Thread)]
    [InlineData(Stage.Message, Blocking.Task)]
    [InlineData(Stage.Message, Blocking.Thread)]
    public async Task BlockedConnection_ClientDisconnects_IsRemovedAfterFilterReturns(Stage stage, Blocking blocking)
    {
        using var filter = new BlockingFilter(stage, blocking);
        await using var app = await StartAsync(filter);
        using var meters = new Meters(app);
        await using var ann = await RawClient.OpenAsync(app, TestUsers.As("ann"));
        await using var bob = await RawClient.OpenAsync(app, TestUsers.As("bob"));
        var it = await BlockAsync(app, filter);

        it.Reset();
        for (var i = 0; i < 50; i++) await TalkAsync(ann, bob, $"{i}");
        filter.Release();

        await Eventually.True(() => app.Registry.Count == 2 && meters.Sum(Meters.Connections) == 2);
        await Eventually.True(() => app.Registry.CountGroupMembers("/ws") == 2);
        Assert.Equal(new Dictionary<string, long> { ["lost"] = 1 }, meters.ByReason(Meters.Ended));
        await ReceiveFromBlockedAsync(stage, ann, bob);
        await TalkAsync(bob, ann, "still here");
        LogAssert.NoErrors(app);
    }

    [Theory]
    [InlineData(Stage.Connect)]
    [InlineData(Stage.Message)]
    public async Task Drain_FiltersObserveAbort_EndsAfterDrainTimeout(Stage stage)
    {
        var clock = new FakeTimeProvider();
        using var filter = new BlockingFilter(stage, Blocking.UntilAborted);
        await using var app = await StartAsync(filter, Drain, clock: clock);
        using var meters = new Meters(app);
        await using var ann = await RawClient.OpenAsync(app, TestUsers.As("ann"));
        await using var it = await BlockAsync(app, filter);
        var started = clock.GetTimestamp();

        var stopping = app.StopAsync();
        await AdvanceUntilClosingAsync(clock, app, 2);
        foreach (var client in new[] { ann, it }) Assert.Equal(1001, (await client.ReadCloseAsync()).CloseCode);
        await ann.SendAsync(ClientFrame.CreateClose(1001));
        Assert.False(stopping.IsCompleted);
        await AdvanceUntilAsync(clock, () => stopping.IsCompleted);
        await stopping;

        Assert.InRange(clock.GetElapsedTime(started), Window, TimeSpan.MaxValue);
        Assert.Equal(new Dictionary<string, long> { ["shutting_down"] = 2 }, meters.ByReason(Meters.Ended));
        Assert.Equal((0, 0), (app.Registry.Count, meters.Sum(Meters.Connections)));
        LogAssert.NoErrors(app);
    }

    public static TheoryData<Stage, Blocking> IgnoredAborts => new()
    {
        { Stage.Connect, Blocking.Thread }, { Stage.Message, Blocking.Task }, { Stage.Disconnect, Blocking.Task },
    };

    [Theory]
    [MemberData(nameof(IgnoredAborts))]
    public async Task Drain_FilterIgnoresAbort_ClosesClientsBeforeShutdownTimeout(Stage stage, Blocking blocking)
    {
        var clock = new FakeTimeProvider();
        using var filter = new BlockingFilter(stage, blocking);
        // The host's timeout uses the system clock, so this timeout is long.
        await using var app = await StartAsync(filter, Drain, TimeSpan.FromMinutes(5), clock);
        using var meters = new Meters(app);
        await using var ann = await RawClient.OpenAsync(app, TestUsers.As("ann"));
        await using var bob = await RawClient.OpenAsync(app, TestUsers.As("bob"));
        await using var it = await BlockAsync(app, filter);

        var stopping = app.StopAsync();
        // A disconnect filter runs after the connection has closed.
        await AdvanceUntilClosingAsync(clock, app, stage == Stage.Disconnect ? 2 : 3);
        foreach (var client in new[] { ann, bob }) Assert.Equal(1001, await client.ClosedWithAsync());
        if (stage != Stage.Disconnect)
        {
            Assert.Equal(1001, (await it.ReadCloseAsync()).CloseCode);
            var end = it.ReadEndAsync();
            await AdvanceUntilAsync(clock, () => end.IsCompleted);
            await end;
        }

        Assert.False(stopping.IsCompleted, "The server has not waited for the filter.");
        filter.Release();
        await stopping;
        await Eventually.True(() => app.Registry.Count == 0 && meters.Sum(Meters.Connections) == 0);
        Assert.Equal(stage == Stage.Disconnect ? 2 : 3, meters.ByReason(Meters.Ended)["shutting_down"]);
        LogAssert.NoErrors(app);
    }

    /// <summary>The server cannot end a blocked request. So the server waits for the host's shutdown timeout and one more second.</summary>
    [Theory]
    [MemberData(nameof(IgnoredAborts))]
    public async Task Drain_FilterNeverReturns_EndsAfterShutdownTimeout(Stage stage, Blocking blocking)
    {
        var patience = Window + TimeSpan.FromSeconds(3);
        using var filter = new BlockingFilter(stage, blocking);
        await using var app = await StartAsync(filter, Drain, patience);
        using var meters = new Meters(app);
        await using var it = await BlockAsync(app, filter);
        var started = Stopwatch.GetTimestamp();

        await app.StopAsync();

        Assert.InRange(Stopwatch.GetElapsedTime(started), TimeSpan.Zero, patience + TimeSpan.FromSeconds(1) + Margin);
        filter.Release();
        await Eventually.True(() => app.Registry.Count == 0 && meters.Sum(Meters.Connections) == 0);
        LogAssert.NoErrors(app);
    }

    /// <summary>
    /// Asserts the number of connections, and advances the clock until the server closes each connection with a close
    /// frame.
    /// </summary>
    static Task AdvanceUntilClosingAsync(FakeTimeProvider clock, BroadcastApp app, int connections)
    {
        var all = app.Inside().Connections.All.ToArray();
        Assert.Equal(connections, all.Length);
        return AdvanceUntilAsync(clock, () => all.All(connection => connection.Writer.ClosingStatus is not null));
    }

    static Task AdvanceUntilAsync(FakeTimeProvider clock, Func<bool> condition) => Eventually.True(() =>
    {
        if (condition()) return true;
        clock.Advance(TimeSpan.FromMilliseconds(50));
        return false;
    });

    static void Drain(BroadcastOptions options) => (options.DrainTimeout, options.CloseTimeout) = (Window, TimeSpan.FromMinutes(1));

    static Task<BroadcastApp> StartAsync(
        BlockingFilter filter, Action<BroadcastOptions>? options = null, TimeSpan? patience = null, TimeProvider? clock = null) => BroadcastApp.StartAsync(
        builder =>
        {
            if (clock is not null) builder.Services.AddSingleton(clock);
            if (patience is { } time) builder.Services.Configure<HostOptions>(host => host.ShutdownTimeout = time);
            TestUsers.Add(builder);
            builder.Services.AddSingleton(filter);
        },
        app => app.MapBroadcast("/ws").Use<BlockingFilter>(),
        options);

    /// <summary>Connects as the blocked user and waits until the filter blocks.</summary>
    static async Task<RawClient> BlockAsync(BroadcastApp app, BlockingFilter filter)
    {
        var client = await RawClient.ConnectAsync(app);
        Assert.Equal(101, (await client.HandshakeAsync("/ws", TestUsers.As("it"))).Status);
        if (filter.Stage == Stage.Message) await client.SendAsync(ClientFrame.CreateText("blocks"));
        if (filter.Stage == Stage.Disconnect)
        {
            await client.SendAsync(ClientFrame.CreateClose(1000));
            await client.ReadCloseAsync();
        }

        await filter.Entered;
        return client;
    }

    static async Task TalkAsync(RawClient speaker, RawClient hearer, string text)
    {
        await speaker.SendAsync(ClientFrame.CreateText(text));
        foreach (var client in new[] { speaker, hearer }) Assert.Equal(text, (await client.ReadFrameAsync()).Text);
    }

    /// <summary>Reads the message of the blocked client. The server publishes this message when the filter returns.</summary>
    static async Task ReceiveFromBlockedAsync(Stage stage, params RawClient[] clients)
    {
        if (stage != Stage.Message) return;
        foreach (var client in clients) Assert.Equal("blocks", (await client.ReadFrameAsync()).Text);
    }
}
