using System.Net.WebSockets;
using Microsoft.AspNetCore.Builder;
using Microsoft.AspNetCore.Hosting;
using Microsoft.Extensions.DependencyInjection;
using Microsoft.Extensions.Time.Testing;

namespace Broadcast.Middleware.Tests.Wire;

/// <summary>Faults that were found once, each at its smallest.</summary>
public sealed class WireFaultTests
{
    static readonly TimeSpan Second = TimeSpan.FromSeconds(1);

    /// <summary>RFC 9110, section 7.8: "A server MUST ignore an Upgrade header field that is received in an HTTP/1.0 request."</summary>
    [Fact]
    public async Task HTTP_1_0_knows_no_upgrade()
    {
        await using var app = await BroadcastApp.StartAsync();
        await using var client = await RawClient.ConnectAsync(app);

        Assert.Equal(400, (await client.RequestAsync("GET /ws HTTP/1.0")).Status);
    }

    /// <summary>RFC 9110, section 15.5.22: "The server MUST send an Upgrade header field in a 426 response".</summary>
    [Fact]
    public async Task The_answer_to_another_version_names_the_protocol_to_upgrade_to()
    {
        await using var app = await BroadcastApp.StartAsync();
        await using var client = await RawClient.ConnectAsync(app);

        var answer = await client.HandshakeAsync(changes: ("Sec-WebSocket-Version", "8"));

        Assert.Equal(426, answer.Status);
        Assert.Equal("websocket", answer["Upgrade"]);
    }

    /// <summary>The receive ends only when the buffer is full, and the pooled buffer is larger than the limit.</summary>
    [Fact]
    public async Task A_message_is_refused_as_soon_as_one_byte_more_than_the_limit_has_come()
    {
        await using var app = await BroadcastApp.StartAsync();
        await using var client = await RawClient.OpenAsync(app);

        await client.SendAsync(ClientFrame.Make(ClientFrame.Binary, new byte[65_537], declared: 1ul << 40));

        Assert.Equal(1009, (await client.ReadCloseAsync()).CloseCode);
    }

    [Fact]
    public async Task A_filter_that_is_cancelled_because_its_client_has_vanished_is_no_error()
    {
        var entered = new TaskCompletionSource();
        await using var app = await BroadcastApp.StartAsync(map: app => app.MapBroadcast("/ws").Use(async (context, _) =>
        {
            entered.SetResult();
            await Task.Delay(Timeout.Infinite, context.Connection.HttpContext.RequestAborted);
        }));
        await using var client = await RawClient.OpenAsync(app);
        await client.SendAsync(ClientFrame.OfText("wait for me"));
        await entered.Task.WaitAsync(TestContext.Current.CancellationToken);

        client.Reset();

        await Eventually.True(() => app.Registry.Count == 0);
        LogAssert.NoErrors(app);
    }

    /// <summary>Nothing is read from it, so it cannot answer.</summary>
    [Fact]
    public async Task A_client_whose_start_is_still_being_handled_is_not_cut_off()
    {
        var (time, started) = (new FakeTimeProvider(), new TaskCompletionSource());
        await using var app = await BroadcastApp.StartAsync(
            builder => builder.Services.AddSingleton<TimeProvider>(time),
            options: options => (options.KeepAliveInterval, options.KeepAliveTimeout) = (Second, Second),
            map: app => app.MapBroadcast("/ws").UseConnect(async (context, next) =>
            {
                await next(context);
                await started.Task;
            }));
        await using var client = await RawClient.ConnectAsync(app);
        await client.HandshakeAsync();
        await Eventually.True(() => app.Registry.Connections.SingleOrDefault() is Connection { IsAttached: true });

        await BeatAsync(app, time, 14);
        started.SetResult();
        await client.SendAsync(ClientFrame.OfText("hello"));

        while (await client.ReadFrameAsync() is var frame && frame.Text != "hello") Assert.Equal(ClientFrame.Ping, frame.Opcode);
    }

    /// <summary>After the close frame no ping is sent, and yet its answer is missed.</summary>
    [Fact]
    public async Task A_client_that_was_closed_has_the_whole_close_timeout_to_answer()
    {
        var time = new FakeTimeProvider();
        await using var app = await BroadcastApp.StartAsync(builder => builder.Services.AddSingleton<TimeProvider>(time), options: options =>
        {
            (options.KeepAliveInterval, options.KeepAliveTimeout) = (Second, Second);
            options.CloseTimeout = TimeSpan.FromSeconds(10);
        });
        await using var client = await RawClient.OpenAsync(app);
        await app.Broadcaster.CloseAsync(app.Registry.Connections.Single().Id, cancellationToken: TestContext.Current.CancellationToken);
        Assert.Equal(1000, (await client.ReadFrameAsync()).CloseCode);

        await BeatAsync(app, time, 14);

        Assert.Equal(1, app.Registry.Count);
        await client.SendAsync(ClientFrame.OfClose(1000));
        Assert.Equal(LineEnd.Finished, await client.ReadEndAsync());
    }

    /// <summary>"It gets what was published before, then a close frame": and nothing that was published long after.</summary>
    [Fact]
    public async Task A_connection_that_is_closed_while_more_is_published_gets_nothing_newer_than_the_close()
    {
        const int Before = 900, After = 500, Size = 1000;
        await using var app = await BroadcastApp.StartAsync(options: options => options.MaxBacklogBytes = 16 * 1024 * 1024);
        await using var client = await RawClient.OpenAsync(app, receiveBuffer: 4096);
        var token = TestContext.Current.CancellationToken;

        for (var i = 0; i < Before; i++) await app.Broadcaster.PublishAsync(Numbered.Make(i, Size), cancellationToken: token);
        await app.Broadcaster.CloseAsync(app.Registry.Connections.Single().Id, cancellationToken: token);
        for (var i = Before; i < Before + After; i++) await app.Broadcaster.PublishAsync(Numbered.Make(i, Size), cancellationToken: token);

        await Numbered.ReadAllAsync(client, Before);
        Assert.Equal(ClientFrame.Close, (await client.ReadFrameAsync()).Opcode);
    }

    /// <summary>The cursor is overrun while the connection waits to be closed: its backlog is given up, and the close frame says "normal".</summary>
    [Fact]
    public async Task A_connection_that_misses_what_was_published_before_it_was_closed_is_not_told_that_all_is_well()
    {
        const int Before = 900, After = 5_000, Size = 1000;
        await using var app = await BroadcastApp.StartAsync();
        await using var client = await RawClient.OpenAsync(app, receiveBuffer: 4096);
        var token = TestContext.Current.CancellationToken;

        for (var i = 0; i < Before; i++) await app.Broadcaster.PublishAsync(Numbered.Make(i, Size), cancellationToken: token);
        await app.Broadcaster.CloseAsync(app.Registry.Connections.Single().Id, cancellationToken: token);
        for (var i = Before; i < Before + After; i++) await app.Broadcaster.PublishAsync(Numbered.Make(i, Size), cancellationToken: token);

        var received = 0;
        ServerFrame frame;
        while ((frame = await client.ReadFrameAsync()).Opcode == ClientFrame.Binary) Assert.Equal(received++, Numbered.Read(frame.Payload));
        Assert.True(
            received >= Before || frame.CloseCode != (int)WebSocketCloseStatus.NormalClosure,
            $"{received} of {Before} messages came, and the close code is {frame.CloseCode}.");
    }

    /// <summary>The server's own limit is a matter of load, no failure of the app's.</summary>
    [Fact]
    public async Task One_connection_more_than_the_server_upgrades_is_refused_with_503()
    {
        await using var app = await BroadcastApp.StartAsync(
            builder => builder.WebHost.ConfigureKestrel(kestrel => kestrel.Limits.MaxConcurrentUpgradedConnections = 1));
        await using var first = await RawClient.OpenAsync(app);
        await using var second = await RawClient.ConnectAsync(app);

        var answer = await second.HandshakeAsync();

        Assert.Equal(503, answer.Status);
        Assert.Equal(1, app.Registry.Count);
        LogAssert.NoErrors(app);
    }

    /// <summary>
    /// Disposing of a WebSocket that has failed aborts the request: the framework wraps the stream to that end. A reset can make the
    /// peer lose the close frame, which lingering was to prevent.
    /// </summary>
    [Fact]
    public async Task After_the_close_frame_the_line_ends_in_order()
    {
        await using var app = await BroadcastApp.StartAsync();
        await using var client = await RawClient.OpenAsync(app);

        await client.SendAsync(ClientFrame.Make(3, "bad"u8), ClientFrame.OfClose(1002));

        Assert.Equal(1002, (await client.ReadCloseAsync()).CloseCode);
        Assert.Equal(LineEnd.Finished, await client.ReadEndAsync());
        await Eventually.True(() => app.Registry.Count == 0);
    }

    /// <summary>A race, lost in about one run of five on a busy machine: between marking the connection as closing and telling its writer.</summary>
    [Fact]
    public async Task When_both_sides_close_at_once_each_gets_one_close_frame_and_the_line_ends()
    {
        await using var app = await BroadcastApp.StartAsync();

        for (var i = 0; i < 300; i++)
        {
            await using var client = await RawClient.OpenAsync(app);
            var id = app.Registry.Connections.Single().Id;

            var closing = Task.Run(() => app.Broadcaster.CloseAsync(id, (WebSocketCloseStatus)4000).AsTask(), TestContext.Current.CancellationToken);
            await client.SendAsync(ClientFrame.OfClose(1000));

            var close = await client.ReadFrameAsync();
            Assert.Equal(ClientFrame.Close, close.Opcode);
            Assert.Contains(close.CloseCode, new int?[] { 1000, 4000 });
            Assert.Equal(LineEnd.Finished, await client.ReadEndAsync());
            await closing;
            await Eventually.True(() => app.Registry.Count == 0);
        }

        LogAssert.NoErrors(app);
    }

    static async Task BeatAsync(BroadcastApp app, FakeTimeProvider time, int beats)
    {
        for (; beats > 0; beats--)
        {
            time.Advance(Second / 4);
            await app.SettleAsync();
        }
    }
}
