using System.Diagnostics;
using Broadcast.Middleware.Tests.Diagnostics;
using Broadcast.Middleware.Tests.Wire;
using Microsoft.AspNetCore.Builder;
using Microsoft.Extensions.DependencyInjection;
using Microsoft.Extensions.Hosting;

namespace Broadcast.Middleware.Tests.Limits;

/// <summary>A filter that does not come back holds up the connection it was called for, and nobody else.</summary>
public sealed class BlockedFilterTests
{
    static readonly TimeSpan Window = TimeSpan.FromSeconds(1);

    // For a busy machine. What would end the app or the connections by mistake takes longer.
    static readonly TimeSpan Margin = TimeSpan.FromSeconds(15);

    public static MatrixTheoryData<Stage, Blocking> Blocks => new([Stage.Connect, Stage.Message, Stage.Disconnect], [Blocking.Task, Blocking.Thread]);

    [Theory]
    [MemberData(nameof(Blocks))]
    public async Task The_others_hear_each_other_and_the_counts_are_right_when_it_has_ended(Stage stage, Blocking blocking)
    {
        using var filter = new BlockingFilter(stage, blocking);
        await using var app = await StartAsync(filter);
        using var meters = new Meters(app);
        await using var ann = await Client.OpenAsync(app, TestUsers.As("ann"));
        await using var bob = await Client.OpenAsync(app, TestUsers.As("bob"));
        await using var it = await BlockAsync(app, filter);

        for (var i = 0; i < 50; i++)
        {
            await TalkAsync(ann, bob, $"{i}");
            // It sends nothing for the moment, and hears all the same.
            if (stage == Stage.Message) Assert.Equal($"{i}", (await it.ReadFrameAsync()).Text);
        }

        // Others come and go.
        var late = await Client.OpenAsync(app, TestUsers.As("late"));
        await Client.LeaveAsync(late);
        // Who has left is not there, however long its filter takes.
        var there = stage == Stage.Disconnect ? 2 : 3;
        await Eventually.True(() => app.Registry.Count == there && meters.Sum(Meters.Connections) == there);
        await Eventually.True(() => app.Registry.CountInGroup("/ws") == (stage == Stage.Message ? 3 : 2));

        filter.Release();

        if (stage != Stage.Disconnect) await Client.LeaveAsync(it);
        else await it.ReadEndAsync();
        await Eventually.True(() => app.Registry.Count == 2 && meters.Sum(Meters.Connections) == 2);
        await Eventually.True(() => app.Registry.CountInGroup("/ws") == 2);
        Assert.Equal(new Dictionary<string, long> { ["closed_by_peer"] = 2 }, meters.ByReason(Meters.Ended));
        await HearTheBlockedAsync(stage, ann, bob);
        await TalkAsync(bob, ann, "still here");
        LogAssert.NoErrors(app);
    }

    [Theory]
    [InlineData(Stage.Connect, Blocking.Task)]
    [InlineData(Stage.Connect, Blocking.Thread)]
    [InlineData(Stage.Message, Blocking.Task)]
    [InlineData(Stage.Message, Blocking.Thread)]
    public async Task A_peer_that_vanishes_meanwhile_is_counted_out_when_its_filter_is_back(Stage stage, Blocking blocking)
    {
        using var filter = new BlockingFilter(stage, blocking);
        await using var app = await StartAsync(filter);
        using var meters = new Meters(app);
        await using var ann = await Client.OpenAsync(app, TestUsers.As("ann"));
        await using var bob = await Client.OpenAsync(app, TestUsers.As("bob"));
        var it = await BlockAsync(app, filter);

        it.Reset();
        for (var i = 0; i < 50; i++) await TalkAsync(ann, bob, $"{i}");
        filter.Release();

        await Eventually.True(() => app.Registry.Count == 2 && meters.Sum(Meters.Connections) == 2);
        await Eventually.True(() => app.Registry.CountInGroup("/ws") == 2);
        Assert.Equal(new Dictionary<string, long> { ["lost"] = 1 }, meters.ByReason(Meters.Ended));
        await HearTheBlockedAsync(stage, ann, bob);
        await TalkAsync(bob, ann, "still here");
        LogAssert.NoErrors(app);
    }

    [Theory]
    [InlineData(Stage.Connect)]
    [InlineData(Stage.Message)]
    public async Task An_app_ends_within_the_drain_window_if_its_filters_end_with_their_requests(Stage stage)
    {
        using var filter = new BlockingFilter(stage, Blocking.UntilAborted);
        await using var app = await StartAsync(filter, Drain);
        using var meters = new Meters(app);
        await using var ann = await Client.OpenAsync(app, TestUsers.As("ann"));
        await using var it = await BlockAsync(app, filter);
        var started = Stopwatch.GetTimestamp();

        var stopping = app.StopAsync();
        foreach (var client in new[] { ann, it }) Assert.Equal(1001, (await client.ReadCloseAsync()).CloseCode);
        await ann.SendAsync(ClientFrame.OfClose(1001));
        await stopping;

        Assert.InRange(Stopwatch.GetElapsedTime(started), Window * 0.9, Window + Margin);
        Assert.Equal(new Dictionary<string, long> { ["shutting_down"] = 2 }, meters.ByReason(Meters.Ended));
        Assert.Equal((0, 0), (app.Registry.Count, meters.Sum(Meters.Connections)));
        LogAssert.NoErrors(app);
    }

    /// <summary>Nothing can end a request from outside: the server waits as long as the host lets it, and a second.</summary>
    [Theory]
    [InlineData(Stage.Connect, Blocking.Thread)]
    [InlineData(Stage.Message, Blocking.Task)]
    [InlineData(Stage.Disconnect, Blocking.Task)]
    public async Task Where_they_do_not_the_others_end_in_time_and_so_does_their_own_line_but_the_app_when_the_hosts_patience_does(
        Stage stage, Blocking blocking)
    {
        var patience = TimeSpan.FromSeconds(8);
        using var filter = new BlockingFilter(stage, blocking);
        await using var app = await StartAsync(filter, Drain, patience);
        using var meters = new Meters(app);
        await using var ann = await Client.OpenAsync(app, TestUsers.As("ann"));
        await using var bob = await Client.OpenAsync(app, TestUsers.As("bob"));
        await using var it = await BlockAsync(app, filter);
        var started = Stopwatch.GetTimestamp();

        var stopping = app.StopAsync();
        foreach (var client in new[] { ann, bob }) Assert.Equal(1001, await Client.ClosedWithAsync(client));
        if (stage != Stage.Disconnect)
        {
            Assert.Equal(1001, (await it.ReadCloseAsync()).CloseCode);
            await it.ReadEndAsync();
        }

        Assert.InRange(Stopwatch.GetElapsedTime(started), TimeSpan.Zero, patience);
        await stopping;

        Assert.InRange(Stopwatch.GetElapsedTime(started), TimeSpan.Zero, patience + TimeSpan.FromSeconds(1) + Margin);
        filter.Release();
        await Eventually.True(() => app.Registry.Count == 0 && meters.Sum(Meters.Connections) == 0);
        Assert.Equal(stage == Stage.Disconnect ? 2 : 3, meters.ByReason(Meters.Ended)["shutting_down"]);
        LogAssert.NoErrors(app);
    }

    static void Drain(BroadcastOptions options) => (options.DrainTimeout, options.CloseTimeout) = (Window, TimeSpan.FromMinutes(1));

    static Task<BroadcastApp> StartAsync(
        BlockingFilter filter, Action<BroadcastOptions>? options = null, TimeSpan? patience = null) => BroadcastApp.StartAsync(
        builder =>
        {
            if (patience is { } time) builder.Services.Configure<HostOptions>(host => host.ShutdownTimeout = time);
            TestUsers.Add(builder);
            builder.Services.AddSingleton(filter);
        },
        app => app.MapBroadcast("/ws").Use<BlockingFilter>(),
        options);

    /// <summary>Connects as the user for whom the filter blocks, and lets it.</summary>
    static async Task<RawClient> BlockAsync(BroadcastApp app, BlockingFilter filter)
    {
        var client = await RawClient.ConnectAsync(app);
        Assert.Equal(101, (await client.HandshakeAsync("/ws", TestUsers.As("it"))).Status);
        if (filter.Stage == Stage.Message) await client.SendAsync(ClientFrame.OfText("blocks"));
        if (filter.Stage == Stage.Disconnect)
        {
            await client.SendAsync(ClientFrame.OfClose(1000));
            await client.ReadCloseAsync();
        }

        await filter.Entered;
        return client;
    }

    static async Task TalkAsync(RawClient speaker, RawClient hearer, string text)
    {
        await speaker.SendAsync(ClientFrame.OfText(text));
        foreach (var client in new[] { speaker, hearer }) Assert.Equal(text, (await client.ReadFrameAsync()).Text);
    }

    /// <summary>What it had sent is published when the filter is back.</summary>
    static async Task HearTheBlockedAsync(Stage stage, params RawClient[] clients)
    {
        if (stage != Stage.Message) return;
        foreach (var client in clients) Assert.Equal("blocks", (await client.ReadFrameAsync()).Text);
    }
}
