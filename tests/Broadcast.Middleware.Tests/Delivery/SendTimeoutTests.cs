using Microsoft.AspNetCore.Builder;
using Microsoft.AspNetCore.Server.Kestrel.Core;
using Microsoft.Extensions.DependencyInjection;
using Microsoft.Extensions.Time.Testing;

namespace Broadcast.Middleware.Tests.Delivery;

public sealed class SendTimeoutTests
{
    [Fact]
    public async Task SendTimeout_ClientReadsNothing_AbortsConnection()
    {
        var time = new FakeTimeProvider();
        await using var app = await StartAsync(time, options => options.MaxConnections = 2);
        using var meters = new Meters(app);
        await using var stalled = await Stall.OpenAsync(app);
        var id = Assert.Single(app.Registry.Connections).Id;
        await using var healthy = await RawClient.OpenAsync(app);
        await Stall.FillAsync(app, meters, id);

        time.Advance(TimeSpan.FromSeconds(5));
        await healthy.AssertOpenAsync();
        Assert.Equal(2, app.Registry.Count);
        // The bytes that fill the receive buffer of the client's operating system count as progress. So advance the
        // clock until the server aborts the connection.
        await Eventually.True(() =>
        {
            time.Advance(TimeSpan.FromSeconds(1));
            return app.Registry.Count == 1;
        });
        Assert.Equal(TransportEnd.Reset, await stalled.ReadEndAsync());
        await Eventually.True(() => meters.Sum(Meters.Connections) == 1);
        Assert.Equal(1, meters.ByReason(Meters.Ended)["send_timeout"]);
        await healthy.AssertOpenAsync();
        await using var next = await RawClient.OpenAsync(app);
        LogAssert.NoErrors(app);
    }

    [Fact]
    public async Task SendTimeout_ClientReadsAgainInTime_KeepsConnectionWithoutMissedMessages()
    {
        var time = new FakeTimeProvider();
        await using var app = await StartAsync(time, options => options.MaxBacklogBytes = 8 * 1024 * 1024);
        using var meters = new Meters(app);
        await using var slow = await Stall.OpenAsync(app);
        var id = Assert.Single(app.Registry.Connections).Id;

        for (var round = 0; round < 3; round++)
        {
            var sent = await Stall.FillAsync(app, meters, id);
            time.Advance(TimeSpan.FromSeconds(7));
            for (var i = 0; i < sent; i++) Assert.True(Stall.IsFiller(await slow.ReadFrameAsync()));
        }

        await slow.AssertOpenAsync();
    }

    [Fact]
    public async Task SendTimeout_SlowProgressOnOneWrite_KeepsConnectionOpen()
    {
        Assert.SkipUnless(OperatingSystem.IsLinux(), "Only Linux reports how many bytes the peer has received.");
        const int Length = 4 * 1024 * 1024, Steps = 64;
        var time = new FakeTimeProvider();
        await using var app = await StartAsync(time, options => options.MaxMessageBytes = options.MaxBacklogBytes = Length);
        using var meters = new Meters(app);
        await using var slow = await Stall.OpenAsync(app);

        await app.Broadcaster.PublishAsync(new byte[Length], Recipients.Everyone, cancellationToken: TestContext.Current.CancellationToken);
        await slow.ReadAsync(10);
        for (var step = 1; step <= Steps; step++)
        {
            await slow.ReadAsync(Length / Steps);
            if (step > Steps / 2) continue;
            // Each step is shorter than SendTimeout. All steps belong to one write and together take much longer than SendTimeout.
            Assert.Equal(0, meters.Delivered);
            time.Advance(TimeSpan.FromSeconds(5));
        }

        await slow.AssertOpenAsync();
        Assert.Equal(0, meters.Sum(Meters.Ended));
    }

    /// <summary>
    /// Over HTTP/2, a write makes progress only when it completes. In the JSON protocol, each small message contains
    /// the long name of its group and becomes much larger.
    /// </summary>
    [Fact]
    public async Task SendTimeout_SteadySlowJsonClientOverHttp2_KeepsConnectionOpen()
    {
        const int Messages = 8_000, Step = 16 * 1024, Steps = 60;
        var room = "/rooms/" + new string('r', 200);
        var time = new FakeTimeProvider();
        await using var app = await StartAsync(
            time, options => options.MaxBacklogBytes = 16 << 20, HttpProtocols.Http2, app => app.MapBroadcast("/rooms/{room}"));
        using var meters = new Meters(app);
        using var http2 = new Http2Client(app);
        using var slowHttp2 = new Http2Client(app);
        await using var slow = await slowHttp2.HandshakeAsync(room, JsonClient.Subprotocol);
        await JsonClient.IdAsync(slow);
        await slow.JoinedAsync();
        await using var sender = await http2.HandshakeAsync(room, JsonClient.Subprotocol);
        await JsonClient.IdAsync(sender);
        var request = $$"""{"type":"sendToGroup","group":"{{room}}","dataType":"text","data":"a short text","noEcho":true}""";
        for (var i = 0; i < Messages; i += 100) await JsonClient.SendTextAsync(sender, [.. Enumerable.Repeat(request, 100)]);
        await JsonClient.ReceivesNothingElseAsync(sender);

        // The client reads 32 KiB per second.
        for (var step = 0; step < Steps; step++)
        {
            await slow.ReadAsync(Step);
            time.Advance(TimeSpan.FromSeconds(0.5));
        }

        Assert.Equal(0, meters.Sum(Meters.Ended));
        Assert.True(meters.Delivered < Messages, "The messages were too few to fill the buffers.");
    }

    [Fact]
    public async Task SendTimeout_Infinite_WaitsForClient()
    {
        var time = new FakeTimeProvider();
        await using var app = await StartAsync(time, options => options.SendTimeout = Timeout.InfiniteTimeSpan);
        using var meters = new Meters(app);
        await using var slow = await Stall.OpenAsync(app);
        var sent = await Stall.FillAsync(app, meters, Assert.Single(app.Registry.Connections).Id);

        time.Advance(TimeSpan.FromHours(1));

        for (var i = 0; i < sent; i++) Assert.True(Stall.IsFiller(await slow.ReadFrameAsync()));
        await slow.AssertOpenAsync();
    }

    static Task<BroadcastApp> StartAsync(
        FakeTimeProvider time, Action<BroadcastOptions> configure, HttpProtocols protocols = HttpProtocols.Http1,
        Action<WebApplication>? map = null) => BroadcastApp.StartAsync(
        builder =>
        {
            Stall.SmallSendBuffers(builder);
            builder.Services.AddSingleton<TimeProvider>(time);
        },
        map,
        options =>
        {
            options.KeepAliveInterval = Timeout.InfiniteTimeSpan;
            configure(options);
        },
        protocols);
}
