using System.Diagnostics;
using System.Net.Sockets;
using System.Net.WebSockets;
using Microsoft.AspNetCore.Builder;
using Microsoft.Extensions.DependencyInjection;
using Microsoft.Extensions.Hosting;

namespace Broadcast.Middleware.Tests.Wire;

public sealed class CloseTests
{
    // Long enough for a busy machine, and less than all timeouts that could end a connection by mistake.
    static readonly TimeSpan Promptly = TimeSpan.FromSeconds(20);

    [Theory]
    [InlineData(1000, "bye")]
    [InlineData(1001, "")]
    [InlineData(1011, "")]
    [InlineData(3000, "registered")]
    [InlineData(4999, "grüß dich")]
    public async Task A_close_frame_is_answered_with_its_code_and_reason_and_the_line_ends(int code, string reason)
    {
        await using var app = await BroadcastApp.StartAsync();
        await using var client = await RawClient.OpenAsync(app);

        await client.SendAsync(ClientFrame.OfClose(code, reason));

        var close = await client.ReadFrameAsync();
        Assert.Equal((ClientFrame.Close, code, reason), (close.Opcode, close.CloseCode, close.CloseReason));
        Assert.Equal(LineEnd.Finished, await client.ReadEndAsync());
        await Eventually.True(() => app.Registry.Count == 0);
        LogAssert.NoErrors(app);
    }

    [Fact]
    public async Task A_close_frame_without_a_code_is_answered_as_a_normal_one()
    {
        await using var app = await BroadcastApp.StartAsync();
        await using var client = await RawClient.OpenAsync(app);

        await client.SendAsync(ClientFrame.Make(ClientFrame.Close, []));

        // The framework takes no code for 1000. 1005, which stands for "no code", must not be sent (RFC 6455, section 7.4.1).
        Assert.Equal(1000, (await client.ReadFrameAsync()).CloseCode);
        Assert.Equal(LineEnd.Finished, await client.ReadEndAsync());
        await Eventually.True(() => app.Registry.Count == 0);
    }

    [Fact]
    public async Task A_close_frame_in_the_middle_of_a_fragmented_message_is_answered()
    {
        await using var app = await BroadcastApp.StartAsync();
        await using var client = await RawClient.OpenAsync(app);

        await client.SendAsync(ClientFrame.Make(ClientFrame.Text, "never mind"u8, fin: false), ClientFrame.OfClose(1000));

        Assert.Equal(1000, (await client.ReadFrameAsync()).CloseCode);
        Assert.Equal(LineEnd.Finished, await client.ReadEndAsync());
    }

    [Fact]
    public async Task Nothing_is_sent_after_the_answer_to_a_close_frame()
    {
        await using var app = await BroadcastApp.StartAsync();
        var client = await RawClient.OpenAsync(app);
        using var stop = new CancellationTokenSource();
        var publishing = PublishUntilAsync(app, stop.Token);

        for (var i = 0; i < 100; i++)
        {
            await client.SendAsync(ClientFrame.OfClose(1000));
            await client.ReadCloseAsync();
            // What came after it would be read as a frame here.
            await Assert.ThrowsAsync<LineEndedException>(client.ReadFrameAsync);
            await client.DisposeAsync();
            client = await RawClient.ConnectAsync(app);
            await client.HandshakeAsync();
        }

        await stop.CancelAsync();
        await publishing;
        await client.DisposeAsync();
    }

    [Fact]
    public async Task Closing_a_connection_delivers_all_that_was_published_before_and_then_the_close_frame()
    {
        const int Messages = 2_000;
        await using var app = await BroadcastApp.StartAsync();
        await using var client = await RawClient.OpenAsync(app);
        var token = TestContext.Current.CancellationToken;

        for (var i = 0; i < Messages; i++) await app.Broadcaster.PublishAsync(Numbered.Make(i, 200), cancellationToken: token);
        Assert.True(await app.Broadcaster.CloseAsync(TheOnly(app).Id, (WebSocketCloseStatus)4001, "enough", token));

        await Numbered.ReadAllAsync(client, Messages);
        var close = await client.ReadFrameAsync();
        Assert.Equal((4001, "enough"), (close.CloseCode, close.CloseReason));
        await client.SendAsync(ClientFrame.OfClose(4001));
        Assert.Equal(LineEnd.Finished, await client.ReadEndAsync());
        await Eventually.True(() => app.Registry.Count == 0);
    }

    [Fact]
    public async Task A_peer_that_does_not_answer_the_close_frame_is_cut_off_after_the_timeout()
    {
        var timeout = TimeSpan.FromMilliseconds(500);
        await using var app = await BroadcastApp.StartAsync(options: options => options.CloseTimeout = timeout);
        await using var client = await RawClient.OpenAsync(app);
        var started = Stopwatch.GetTimestamp();

        await app.Broadcaster.CloseAsync(TheOnly(app).Id, cancellationToken: TestContext.Current.CancellationToken);

        Assert.Equal(1000, (await client.ReadFrameAsync()).CloseCode);
        await client.ReadEndAsync();
        Assert.InRange(Stopwatch.GetElapsedTime(started), timeout * 0.9, timeout + Promptly);
        await Eventually.True(() => app.Registry.Count == 0);
    }

    [Fact]
    public async Task What_a_peer_still_sends_after_it_was_closed_is_dropped()
    {
        await using var app = await BroadcastApp.StartAsync();
        await using var witness = await RawClient.OpenAsync(app);
        var witnessId = TheOnly(app).Id;
        await using var client = await RawClient.OpenAsync(app);
        await app.Broadcaster.CloseAsync(app.Registry.Connections.Single(connection => connection.Id != witnessId).Id,
            cancellationToken: TestContext.Current.CancellationToken);
        Assert.Equal(1000, (await client.ReadFrameAsync()).CloseCode);

        await client.SendAsync(ClientFrame.OfText("too late"), ClientFrame.OfClose(1000));

        Assert.Equal(LineEnd.Finished, await client.ReadEndAsync());
        await app.Broadcaster.PublishAsync("next", cancellationToken: TestContext.Current.CancellationToken);
        Assert.Equal("next", (await witness.ReadFrameAsync()).Text);
    }

    [Fact]
    public async Task When_a_filter_closes_and_the_peer_too_there_is_one_close_frame_and_the_line_ends()
    {
        await using var app = await BroadcastApp.StartAsync(map: app => app.MapBroadcast("/ws").Use((context, _) =>
        {
            context.Close((WebSocketCloseStatus)4000, "the filter");
            return Task.CompletedTask;
        }));

        for (var i = 0; i < 200; i++)
        {
            await using var client = await RawClient.OpenAsync(app);

            await client.SendAsync(ClientFrame.OfText("close me"), ClientFrame.OfClose(1000));

            var close = await client.ReadFrameAsync();
            Assert.Equal((4000, "the filter"), (close.CloseCode, close.CloseReason));
            Assert.Equal(LineEnd.Finished, await client.ReadEndAsync());
            await Eventually.True(() => app.Registry.Count == 0);
        }

        LogAssert.NoErrors(app);
    }

    [Fact]
    public async Task A_server_that_shuts_down_tells_everyone_and_stops_as_soon_as_they_have_answered()
    {
        await using var app = await BroadcastApp.StartAsync(
            options: options => options.CloseTimeout = options.DrainTimeout = TimeSpan.FromSeconds(25));
        var clients = new List<RawClient>();
        for (var i = 0; i < 5; i++) clients.Add(await RawClient.OpenAsync(app));
        var started = Stopwatch.GetTimestamp();

        var stopping = app.StopAsync();
        foreach (var client in clients)
        {
            Assert.Equal(1001, (await client.ReadFrameAsync()).CloseCode);
            await client.SendAsync(ClientFrame.OfClose(1001));
            Assert.Equal(LineEnd.Finished, await client.ReadEndAsync());
        }

        await stopping;
        Assert.InRange(Stopwatch.GetElapsedTime(started), TimeSpan.Zero, Promptly);
        Assert.Equal(0, app.Registry.Count);
        await Assert.ThrowsAsync<SocketException>(() => RawClient.ConnectAsync(app));
        LogAssert.NoErrors(app);
    }

    [Fact]
    public async Task A_server_that_shuts_down_does_not_wait_longer_than_the_timeout_for_those_who_do_not_answer()
    {
        await using var app = await BroadcastApp.StartAsync(options: options => (options.CloseTimeout, options.DrainTimeout) = (TimeSpan.FromMilliseconds(500), TimeSpan.FromSeconds(25)));
        await using var client = await RawClient.OpenAsync(app);
        var started = Stopwatch.GetTimestamp();

        await app.StopAsync();

        Assert.InRange(Stopwatch.GetElapsedTime(started), TimeSpan.Zero, TimeSpan.FromMilliseconds(500) + Promptly);
        Assert.Equal(0, app.Registry.Count);
        Assert.Equal(1001, (await client.ReadFrameAsync()).CloseCode);
    }

    [Fact]
    public async Task While_the_server_is_about_to_stop_handshakes_are_refused_with_503()
    {
        await using var app = await BroadcastApp.StartAsync();
        app.Services.GetRequiredService<IHostApplicationLifetime>().StopApplication();
        await using var client = await RawClient.ConnectAsync(app);

        var answer = await client.HandshakeAsync();

        Assert.Equal(503, answer.Status);
        Assert.Contains("shutting down", answer.Body, StringComparison.Ordinal);
        Assert.Equal(0, app.Registry.Count);
    }

    [Fact]
    public async Task A_connection_that_a_filter_does_not_let_in_is_closed_with_1008()
    {
        await using var app = await BroadcastApp.StartAsync(map: app => app.MapBroadcast("/ws").UseConnect((_, _) => Task.CompletedTask));
        await using var client = await RawClient.ConnectAsync(app);

        Assert.Equal(101, (await client.HandshakeAsync()).Status);

        Assert.Equal(1008, (await client.ReadFrameAsync()).CloseCode);
        await client.SendAsync(ClientFrame.OfClose(1008));
        Assert.Equal(LineEnd.Finished, await client.ReadEndAsync());
        await Eventually.True(() => app.Registry.Count == 0);
    }

    static IBroadcastConnection TheOnly(BroadcastApp app) => Assert.Single(app.Registry.Connections);

    static async Task PublishUntilAsync(BroadcastApp app, CancellationToken stop)
    {
        while (!stop.IsCancellationRequested)
        {
            await app.Broadcaster.PublishAsync("on and on", cancellationToken: CancellationToken.None);
            await Task.Yield();
        }
    }
}
