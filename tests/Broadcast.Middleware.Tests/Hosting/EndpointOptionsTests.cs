using Microsoft.AspNetCore.Builder;
using Microsoft.Extensions.DependencyInjection;
using Microsoft.Extensions.Time.Testing;

namespace Broadcast.Middleware.Tests.Hosting;

/// <summary>
/// Tests options of one endpoint. The options of the URL /own apply only to this URL, and the URL /ws keeps the options
/// of the broadcast.
/// </summary>
public sealed class EndpointOptionsTests
{
    const string Own = "/own", Other = "/ws";

    static CancellationToken Token => TestContext.Current.CancellationToken;

    [Fact]
    public async Task MaxMessageBytes_OfOneEndpoint_LimitsOnlyClientsOfThatEndpoint()
    {
        await using var app = await StartAsync(own => own.MaxMessageBytes = 10);
        await using var limited = await RawClient.OpenAsync(app, Own);
        await using var other = await RawClient.OpenAsync(app, Other);
        await SendTextAsync(limited, "0123456789");
        Assert.Equal("0123456789", (await limited.ReadFrameAsync()).Text);
        await SendTextAsync(limited, "0123456789A");
        var close = await limited.ReadCloseAsync();
        Assert.Equal((1009, "A message is larger than MaxMessageBytes (10). Send smaller messages."), (close.CloseCode, close.CloseReason));
        await SendTextAsync(other, "0123456789A");
        Assert.Equal("0123456789A", (await other.ReadFrameAsync()).Text);
    }

    [Fact]
    public async Task MaxMessageBytes_RaisedForOneEndpoint_AcceptsLargeMessagesOnlyAtThatEndpoint()
    {
        await using var app = await StartAsync(own => own.MaxMessageBytes = 20, all => all.MaxMessageBytes = 10);
        await using var allowed = await RawClient.OpenAsync(app, Own);
        await using var other = await RawClient.OpenAsync(app, Other);
        await SendTextAsync(allowed, "0123456789A");
        Assert.Equal("0123456789A", (await allowed.ReadFrameAsync()).Text);
        await SendTextAsync(other, "0123456789A");
        Assert.Equal(1009, (await other.ReadCloseAsync()).CloseCode);
    }

    [Fact]
    public async Task MaxSmallFragments_OfOneEndpoint_LimitsOnlyClientsOfThatEndpoint()
    {
        await using var app = await StartAsync(own => own.MaxSmallFragments = 2);
        await using var limited = await RawClient.OpenAsync(app, Own);
        await using var other = await RawClient.OpenAsync(app, Other);
        foreach (var client in new[] { limited, other })
        {
            await client.SendAsync(
                ClientFrame.Make(ClientFrame.Text, "a"u8, fin: false),
                ClientFrame.Make(ClientFrame.Continuation, "b"u8, fin: false),
                ClientFrame.Make(ClientFrame.Continuation, "c"u8, fin: false),
                ClientFrame.Make(ClientFrame.Continuation, "d"u8));
        }

        Assert.Equal(1009, (await limited.ReadCloseAsync()).CloseCode);
        Assert.Equal("abcd", (await other.ReadFrameAsync()).Text);
    }

    [Fact]
    public async Task MaxMessagesPerSecond_OfOneEndpoint_LimitsOnlyClientsOfThatEndpoint()
    {
        await using var app = await StartAsync(own => own.MaxMessagesPerSecond = 1);
        await using var limited = await RawClient.OpenAsync(app, Own);
        await using var other = await RawClient.OpenAsync(app, Other);
        await SendManyAsync(limited);
        var close = await limited.ReadCloseAsync();
        Assert.Equal((1008, "The client sent more than 1 messages per second. Send fewer messages."), (close.CloseCode, close.CloseReason));
        await SendManyAsync(other);
        await ReadManyAsync(other);
    }

    [Fact]
    public async Task MaxMessageBurst_RaisedForOneEndpoint_AcceptsLargeBurstsOnlyAtThatEndpoint()
    {
        await using var app = await StartAsync(own => own.MaxMessageBurst = Many, all => all.MaxMessagesPerSecond = 1);
        await using var allowed = await RawClient.OpenAsync(app, Own);
        await using var other = await RawClient.OpenAsync(app, Other);
        await SendManyAsync(allowed);
        await ReadManyAsync(allowed);
        await SendManyAsync(other);
        Assert.Equal(1008, (await other.ReadCloseAsync()).CloseCode);
    }

    [Fact]
    public async Task AllowedOrigins_OfOneEndpoint_ApplyOnlyToThatEndpoint()
    {
        await using var app = await StartAsync(
            own => own.AllowedOrigins.Add("https://own.test"), all => all.AllowedOrigins.Add("https://all.test"));
        Assert.Equal((101, 403), (await StatusAsync(Own, "https://own.test"), await StatusAsync(Other, "https://own.test")));
        Assert.Equal((101, 101), (await StatusAsync(Own, "https://all.test"), await StatusAsync(Other, "https://all.test")));

        async Task<int> StatusAsync(string path, string origin)
        {
            await using var client = await RawClient.ConnectAsync(app);
            return (await client.HandshakeAsync(path, ("Origin", origin))).Status;
        }
    }

    [Fact]
    public async Task AllowedOrigins_ClearedForOneEndpoint_RefuseOtherSitesOnlyAtThatEndpoint()
    {
        await using var app = await StartAsync(own => own.AllowedOrigins.Clear(), all => all.AllowedOrigins.Add("*"));
        await using var refused = await RawClient.ConnectAsync(app);
        await using var allowed = await RawClient.ConnectAsync(app);
        Assert.Equal(403, (await refused.HandshakeAsync(Own, ("Origin", "https://any.test"))).Status);
        Assert.Equal(101, (await allowed.HandshakeAsync(Other, ("Origin", "https://any.test"))).Status);
    }

    [Theory]
    [InlineData(SlowConsumer.SkipToLatest)]
    [InlineData(SlowConsumer.Conflate)]
    public async Task SlowConsumer_OfOneEndpoint_AppliesInGroupOfAllConnections(SlowConsumer slowConsumer)
    {
        await using var app = await StartAsync(own => own.SlowConsumer = slowConsumer, SmallBacklog, Stall.SmallSendBuffers);
        using var meters = new Meters(app);
        await using var skips = await RawClient.OpenAsync(app, Own, Stall.SmallWindow);
        await using var closes = await RawClient.OpenAsync(app, Other, Stall.SmallWindow);

        // Neither client reads. The server closes only the client of /ws, because /own sets a different SlowConsumer.
        await PublishUntilTooSlowAsync(app, Other, Recipients.Everyone);
        await PublishAsync(app, Recipients.Everyone, last: true);

        Assert.Equal(1013, await closes.ClosedWithAsync());
        while (await skips.ReadFrameAsync() is { Payload: [not LastMessage, ..] })
        {
            // Each received message was sent before the client became slow, or is the newest message of its key.
        }

        Assert.True(meters.Sum(Meters.Dropped) > 0);
        await skips.AssertOpenAsync();
        await Eventually.True(() => meters.ByReason(Meters.Ended).GetValueOrDefault("slow_consumer") == 1);
    }

    [Fact]
    public async Task SlowConsumer_SetForEndpointAndGroup_GroupTakesPrecedence()
    {
        await using var app = await StartAsync(
            own => own.SlowConsumer = SlowConsumer.SkipToLatest,
            all =>
            {
                SmallBacklog(all);
                all.Groups[Own] = new() { SlowConsumer = SlowConsumer.Disconnect };
            },
            Stall.SmallSendBuffers);
        await using var client = await RawClient.OpenAsync(app, Own, Stall.SmallWindow);
        await PublishUntilTooSlowAsync(app, Own, Recipients.Group(Own));
        Assert.Equal(1013, (await client.ReadCloseAsync()).CloseCode);
    }

    [Fact]
    public async Task FirstMessageTimeout_OfOneEndpoint_ClosesOnlyClientsOfThatEndpoint()
    {
        var time = new FakeTimeProvider();
        await using var app = await StartAsync(time, own => own.FirstMessageTimeout = TimeSpan.FromSeconds(1));
        await using var late = await RawClient.OpenAsync(app, Own);
        await using var other = await RawClient.OpenAsync(app, Other);
        // Without the timeout of the endpoint, the heartbeat would have an interval of 5 seconds.
        time.Advance(TimeSpan.FromSeconds(1.25));
        Assert.Equal(1008, await late.ClosedWithAsync());
        await Eventually.True(() => app.Registry.Count == 1);
        await other.AssertOpenAsync();
    }

    [Fact]
    public async Task KeepAliveInterval_OfOneEndpoint_PingsOnlyClientsOfThatEndpoint()
    {
        var time = new FakeTimeProvider();
        await using var app = await StartAsync(time, own => own.KeepAliveInterval = TimeSpan.FromSeconds(1));
        await using var pinged = await RawClient.OpenAsync(app, Own);
        await using var other = await RawClient.OpenAsync(app, Other);
        // At the first heartbeat, the server starts to measure the idle time of the clients.
        for (var i = 0; i < 2; i++)
        {
            time.Advance(TimeSpan.FromSeconds(1.25));
            await app.SettleAsync();
        }

        Assert.Equal(ClientFrame.Ping, (await pinged.ReadFrameAsync()).Opcode);
        // The next frame is the answer to the client's message, so the server has sent no ping.
        await other.AssertOpenAsync();
    }

    [Fact]
    public async Task KeepAliveTimeout_OfOneEndpoint_AbortsOnlyClientsOfThatEndpoint()
    {
        var time = new FakeTimeProvider();
        await using var app = await StartAsync(
            time, own => own.KeepAliveTimeout = TimeSpan.FromSeconds(1), all => all.KeepAliveInterval = TimeSpan.FromSeconds(1));
        using var meters = new Meters(app);
        await using var lost = await RawClient.OpenAsync(app, Own);
        await using var other = await RawClient.OpenAsync(app, Other);
        for (var i = 0; i < 4; i++)
        {
            time.Advance(TimeSpan.FromSeconds(1.25));
            await app.SettleAsync();
        }

        await lost.ReadEndAsync();
        await Eventually.True(() => app.Registry.Count == 1);
        Assert.Equal(Other, app.Registry.Connections.Single().HomeGroup);
        Assert.Equal(1, meters.ByReason(Meters.Ended)["keep_alive_timeout"]);
    }

    [Fact]
    public async Task SendTimeout_OfOneEndpoint_AbortsOnlyClientsOfThatEndpoint()
    {
        var time = new FakeTimeProvider();
        await using var app = await StartAsync(
            time, own => own.SendTimeout = TimeSpan.FromSeconds(1), configure: Stall.SmallSendBuffers);
        using var meters = new Meters(app);
        await using var stalled = await RawClient.OpenAsync(app, Own, Stall.SmallWindow);
        await using var other = await RawClient.OpenAsync(app, Other, Stall.SmallWindow);
        foreach (var connection in app.Registry.Connections.ToArray()) await Stall.FillAsync(app, meters, connection.Id);
        await Eventually.True(() =>
        {
            time.Advance(TimeSpan.FromSeconds(0.25));
            return app.Registry.Count == 1;
        });
        Assert.Equal(Other, app.Registry.Connections.Single().HomeGroup);
        Assert.Equal(1, meters.ByReason(Meters.Ended)["send_timeout"]);
    }

    [Fact]
    public async Task CloseTimeout_OfOneEndpoint_AbortsOnlyClientsOfThatEndpoint()
    {
        var time = new FakeTimeProvider();
        await using var app = await StartAsync(
            time, own => own.CloseTimeout = TimeSpan.FromSeconds(1), all => all.CloseTimeout = TimeSpan.FromHours(1));
        await using var aborted = await RawClient.OpenAsync(app, Own);
        await using var other = await RawClient.OpenAsync(app, Other);
        foreach (var connection in app.Registry.Connections.ToArray())
            Assert.True(await app.Broadcaster.CloseAsync(connection.Id, cancellationToken: Token));
        // The clients read the close frame but do not answer.
        await aborted.ReadCloseAsync();
        await other.ReadCloseAsync();
        time.Advance(TimeSpan.FromSeconds(1));
        await aborted.ReadEndAsync();
        await Eventually.True(() => app.Registry.Count == 1);
        Assert.Equal(Other, app.Registry.Connections.Single().HomeGroup);
    }

    [Fact]
    public async Task Settings_OfConnectionsOfOneEndpoint_AreSameObject()
    {
        await using var app = await StartAsync(own => own.MaxMessageBytes = 10);
        await using var one = await RawClient.OpenAsync(app, Own);
        await using var two = await RawClient.OpenAsync(app, Own);
        await using var other = await RawClient.OpenAsync(app, Other);
        var settings = app.Registry.Connections.Cast<Connection>().ToLookup(static connection => connection.HomeGroup);
        Assert.Single(settings[Own].Select(static connection => connection.Settings).Distinct());
        Assert.NotSame(settings[Own].First().Settings, settings[Other].Single().Settings);
    }

    [Fact]
    public async Task EndpointOptions_OptionsOfBroadcastSet_StartWithValuesOfBroadcast()
    {
        BroadcastEndpointOptions? received = null;
        await using var app = await StartAsync(own => received = own, all =>
        {
            (all.MaxMessageBytes, all.MaxSmallFragments, all.MaxMessagesPerSecond, all.MaxMessageBurst) = (1, 2, 3, 4);
            (all.FirstMessageTimeout, all.SendTimeout) = (TimeSpan.FromSeconds(5), TimeSpan.FromSeconds(6));
            (all.KeepAliveInterval, all.KeepAliveTimeout) = (TimeSpan.FromSeconds(7), TimeSpan.FromSeconds(8));
            (all.CloseTimeout, all.SlowConsumer) = (TimeSpan.FromSeconds(9), SlowConsumer.Conflate);
            (all.EventStreamRetryDelay, all.HeartbeatInterval, all.HeartbeatMessage) = (TimeSpan.FromSeconds(10), TimeSpan.FromSeconds(11), "12");
            all.AllowedOrigins.Add("https://example.com");
            (all.GroupScope, all.CompressMessagesAbove) = ("shop", 13);
            all.IsOriginAllowed = static origin => origin == "x";
            all.RawSubprotocols.Add("chat");
            all.AllowClientFilters = true;
        });
        Assert.NotNull(received);
        Assert.Equal((1, 2, 3, 4), (received.MaxMessageBytes, received.MaxSmallFragments, received.MaxMessagesPerSecond, received.MaxMessageBurst));
        Assert.Equal((5, 6), (received.FirstMessageTimeout.Seconds, received.SendTimeout.Seconds));
        Assert.Equal((7, 8), (received.KeepAliveInterval.Seconds, received.KeepAliveTimeout.Seconds));
        Assert.Equal((9, SlowConsumer.Conflate), (received.CloseTimeout.Seconds, received.SlowConsumer));
        Assert.Equal(["https://example.com"], received.AllowedOrigins);
        Assert.Equal(("shop", 13), (received.GroupScope, received.CompressMessagesAbove));
        Assert.True(received.IsOriginAllowed!("x"));
        Assert.Equal(["chat"], received.RawSubprotocols);
        Assert.True(received.AllowClientFilters);
        Assert.Equal((10, 11), (received.EventStreamRetryDelay?.Seconds, received.HeartbeatInterval.Seconds));
        Assert.Equal("12", received.HeartbeatMessage);
        Assert.Equal(19, typeof(BroadcastEndpointOptions).GetProperties().Length);
    }

    [Fact]
    public async Task MapBroadcast_NamedBroadcast_EndpointStartsWithOptionsOfThatBroadcast()
    {
        await using var app = await BroadcastApp.StartAsync(
            builder => builder.Services.AddBroadcast("news", news => news.MaxMessageBytes = 5),
            map => map.MapBroadcast("/news", "news", options =>
            {
                Assert.Equal(5, options.MaxMessageBytes);
                options.MaxMessageBytes = 6;
            }));
        await using var client = await RawClient.OpenAsync(app, "/news");
        await SendTextAsync(client, "123456");
        Assert.Equal("123456", (await client.ReadFrameAsync()).Text);
        await SendTextAsync(client, "1234567");
        Assert.Equal(1009, (await client.ReadCloseAsync()).CloseCode);
    }

    const int Many = 10;
    const byte LastMessage = 255;

    static Task<BroadcastApp> StartAsync(
        Action<BroadcastEndpointOptions> own, Action<BroadcastOptions>? all = null, Action<WebApplicationBuilder>? configure = null) =>
        BroadcastApp.StartAsync(
            configure,
            map =>
            {
                map.MapBroadcast(Own, own);
                map.MapBroadcast(Other);
            },
            all);

    static Task<BroadcastApp> StartAsync(
        FakeTimeProvider time,
        Action<BroadcastEndpointOptions> own,
        Action<BroadcastOptions>? all = null,
        Action<WebApplicationBuilder>? configure = null) =>
        StartAsync(
            own,
            options =>
            {
                options.KeepAliveInterval = options.KeepAliveTimeout = options.SendTimeout = Timeout.InfiniteTimeSpan;
                all?.Invoke(options);
            },
            builder =>
            {
                builder.Services.AddSingleton<TimeProvider>(time);
                configure?.Invoke(builder);
            });

    static void SmallBacklog(BroadcastOptions options)
    {
        options.MaxBacklogBytes = 64 * 1024;
        // The clients start to read only after the publish, so CloseTimeout must be long.
        options.CloseTimeout = TimeSpan.FromHours(1);
    }

    static Task SendTextAsync(RawClient client, string text) => client.SendAsync(ClientFrame.CreateText(text));

    static Task SendManyAsync(RawClient client) =>
        client.SendAsync([.. Enumerable.Range(0, Many).Select(i => (ReadOnlyMemory<byte>)ClientFrame.CreateText($"message {i}"))]);

    static async Task ReadManyAsync(RawClient client)
    {
        for (var i = 0; i < Many; i++) Assert.Equal($"message {i}", (await client.ReadFrameAsync()).Text);
    }

    /// <summary>Publishes until the server closes the client in this home group.</summary>
    static async Task PublishUntilTooSlowAsync(BroadcastApp app, string homeGroup, Recipients recipients)
    {
        var connection = (Connection)app.Registry.Connections.Single(connection => connection.HomeGroup == homeGroup);
        while (connection.Writer.ClosingStatus is null)
        {
            await PublishAsync(app, recipients, last: false);
            await app.SettleAsync();
        }
    }

    static async Task PublishAsync(BroadcastApp app, Recipients recipients, bool last)
    {
        var payload = new byte[16 * 1024];
        if (last) payload[0] = LastMessage;
        await app.Broadcaster.PublishAsync(new Message(payload, MessageType.Binary) { Key = "key" }, recipients, Token);
    }
}
