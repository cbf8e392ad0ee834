using System.Globalization;
using Microsoft.AspNetCore.Server.Kestrel.Core;
using Microsoft.Extensions.DependencyInjection;
using Microsoft.Extensions.Time.Testing;

namespace Broadcast.Middleware.Tests.Http;

/// <summary>Tests event streams whose clients read slowly or not at all.</summary>
public sealed class SlowEventStreamTests
{
    static CancellationToken Token => TestContext.Current.CancellationToken;

    [Theory]
    [InlineData(false)]
    [InlineData(true)]
    public async Task SendTimeout_ClientReadsNothing_AbortsOnlyThatConnection(bool overHttp2)
    {
        var time = new FakeTimeProvider();
        await using var app = await BroadcastApp.StartAsync(
            builder =>
            {
                Stall.SmallSendBuffers(builder);
                builder.Services.AddSingleton<TimeProvider>(time);
            },
            options: options => (options.KeepAliveInterval, options.MaxBacklogBytes) = (Timeout.InfiniteTimeSpan, 16 * 1024 * 1024),
            protocols: overHttp2 ? HttpProtocols.Http2 : HttpProtocols.Http1);
        using var meters = new Meters(app);
        using var http2 = new Http2Client(app);
        await using var stalled = await OpenAsync();
        var id = Assert.Single(app.Registry.Connections).Id;
        await using var healthy = await OpenAsync();
        // These bytes exceed the capacity of all buffers between the server and the client.
        for (var i = 0; i < 64; i++) await app.Broadcaster.PublishAsync(new byte[64 * 1024], Recipients.Connection(id), cancellationToken: Token);

        time.Advance(TimeSpan.FromSeconds(9));
        await AssertOpenAsync();
        Assert.Equal(2, app.Registry.Count);
        // The timeout starts when a write begins to wait. The test cannot observe this moment, so the clock advances in
        // steps.
        await Eventually.True(() =>
        {
            time.Advance(TimeSpan.FromSeconds(1));
            return app.Registry.Count == 1;
        });
        await Eventually.True(() => meters.Sum(Meters.Connections) == 1);
        Assert.Equal(1, meters.ByReason(Meters.Ended)["send_timeout"]);
        await AssertOpenAsync();
        Assert.Equal(TransportEnd.Reset, (await stalled.ReadToEndAsync()).End);
        LogAssert.NoErrors(app);

        async Task AssertOpenAsync()
        {
            await app.Broadcaster.PublishAsync("still here", Recipients.Group("/ws"), cancellationToken: Token);
            Assert.Equal("still here", (await healthy.NextAsync()).Data);
        }

        async Task<EventClient> OpenAsync()
        {
            if (!overHttp2) return await EventClient.OpenAsync(app, receiveBuffer: Stall.SmallWindow);
            var before = app.Registry.Count;
            var response = await http2.GetAsync("/ws", ("Accept", "text/event-stream"));
            await EventStreamTests.Attached(app, before + 1);
            return new(await response.Content.ReadAsStreamAsync(Token));
        }
    }

    [Fact]
    public async Task SlowClient_OverBacklogLimit_ReceivesCloseEventWithCode1013()
    {
        await using var app = await BroadcastApp.StartAsync(Stall.SmallSendBuffers, options: options => options.MaxBacklogBytes = 128 * 1024);
        using var meters = new Meters(app);
        await using var slow = await EventClient.OpenAsync(app, receiveBuffer: Stall.SmallWindow);
        await using var healthy = await EventClient.OpenAsync(app);
        for (var i = 0; i < 1_000; i++)
        {
            await app.Broadcaster.PublishAsync(Text(i), Recipients.Group("/ws"), cancellationToken: Token);
            Assert.Equal(Text(i), (await healthy.NextAsync()).Data);
            if (i == 0) Assert.Equal(Text(0), (await slow.NextAsync()).Data);
        }

        // The server may already have removed the connection, if the last events fit into the buffers of the operating
        // system.
        await Eventually.True(() =>
            app.Registry.Count == 1 || app.Registry.Connections.Cast<Connection>().Any(connection => connection.Writer.ClosingStatus is not null));
        var (events, end) = await slow.ReadToEndAsync();
        Assert.Equal(TransportEnd.Finished, end);
        Assert.Equal(("close", $"1013 {CloseReasons.TooSlow}"), (events[^1].Type, events[^1].Data));
        Assert.InRange(events.Count, 1, 998);
        Assert.Equal(Enumerable.Range(1, events.Count - 1).Select(Text), events.SkipLast(1).Select(heard => heard.Data));
        await Eventually.True(() => app.Registry.Count == 1);
        Assert.Equal(1, meters.ByReason(Meters.Ended)["slow_consumer"]);
    }

    [Fact]
    public async Task SkipToLatest_SlowClient_ReceivesMissedEventWithCount()
    {
        const int Messages = 3_000;
        await using var app = await BroadcastApp.StartAsync(Stall.SmallSendBuffers, options: options =>
            (options.SlowConsumer, options.MaxBacklogBytes) = (SlowConsumer.SkipToLatest, 128 * 1024));
        using var meters = new Meters(app);
        await using var slow = await EventClient.OpenAsync(app, receiveBuffer: Stall.SmallWindow);
        for (var i = 0; i < Messages; i++) await app.Broadcaster.PublishAsync(Text(i), Recipients.Group("/ws"), cancellationToken: Token);

        var reading = ReadAsync();
        await Eventually.True(() => meters.Delivered + meters.Sum(Meters.Dropped) == Messages);
        await app.Broadcaster.PublishAsync(Text(Messages), Recipients.Group("/ws"), cancellationToken: Token);
        var skipped = await reading;

        Assert.True(skipped > 0, "No message was skipped.");
        Assert.Equal(skipped, meters.Sum(Meters.Dropped));

        // Before the message after a gap, the server sends a missed event with the number of skipped messages.
        async Task<long> ReadAsync()
        {
            long missed = 0, expected = 0;
            while (expected <= Messages)
            {
                var heard = await slow.NextAsync();
                if (heard.Type == "missed")
                {
                    var count = long.Parse(heard.Data, CultureInfo.InvariantCulture);
                    Assert.False(heard.HasOwnId);
                    Assert.True(count > 0);
                    missed += count;
                    expected += count;
                    continue;
                }

                Assert.Equal(Text((int)expected), heard.Data);
                Assert.EndsWith($"-{++expected}", heard.Id, StringComparison.Ordinal);
            }

            return missed;
        }
    }

    [Fact]
    public async Task Drain_StalledClient_DelaysNeitherOtherClientsNorHost()
    {
        await using var app = await BroadcastApp.StartAsync(Stall.SmallSendBuffers, options: options => options.DrainTimeout = TimeSpan.FromSeconds(6));
        using var meters = new Meters(app);
        await using var stalled = await EventClient.OpenAsync(app, receiveBuffer: Stall.SmallWindow);
        for (var i = 0; i < 40; i++) await app.Broadcaster.PublishAsync(new byte[Stall.FillBytes / 40], Recipients.Group("/ws"), cancellationToken: Token);
        var clients = new List<EventClient>();
        for (var i = 0; i < 20; i++) clients.Add(await EventClient.OpenAsync(app));

        var stopping = app.StopAsync();
        foreach (var client in clients)
        {
            Assert.Equal("1001 The server is shutting down.", await client.ReadCloseAsync());
            await client.DisposeAsync();
        }

        await stopping.WaitAsync(Eventually.Patience, Token);
        Assert.Equal(0, app.Registry.Count);
        Assert.Equal(21, meters.ByReason(Meters.Ended)["shutting_down"]);
        LogAssert.NoErrors(app);
    }

    static string Text(int number) => $"{number} {new string('x', 1_000)}";
}
