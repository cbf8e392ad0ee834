using System.Text;
using Microsoft.AspNetCore.Builder;
using Microsoft.Extensions.DependencyInjection;
using Microsoft.Extensions.Time.Testing;

namespace Broadcast.Middleware.Tests.Http;

/// <summary>Tests raw WebSocket clients that ask for positions and recover with the query parameter <c>after</c>.</summary>
public sealed class PositionClientTests
{
    const string Subprotocol = "positions.broadcast.v1";

    static readonly Recipients _members = Recipients.Group("/ws");

    readonly InMemoryCluster _cluster = new();

    static CancellationToken Token => TestContext.Current.CancellationToken;

    [Fact]
    public async Task Connect_WithSubprotocol_EachFrameHasHeader()
    {
        await using var app = await StartAsync(new() { HistoryMessages = 10 }, web => web.MapBroadcast("/ws").UseConnect(async (context, next) =>
        {
            await context.ReplyAsync("before");
            await next(context);
            await context.JoinAsync("/other");
        }));
        await using var client = await OpenAsync(app);
        // The frame "joined" may arrive before an earlier reply, so the test finds this frame by its header.
        string[] opening = [(await client.ReadFrameAsync()).Text, (await client.ReadFrameAsync()).Text];
        Assert.Contains("\nbefore", opening);
        Assert.True(Position.TryParse(opening.Single(text => text.StartsWith("joined ", StringComparison.Ordinal))[7..].Split(' ')[0], out var start));
        Assert.Equal(0, start.Offset);
        await client.AssertOpenAsync();

        await app.PublishToAsync(_members, "text", "two\nlines", "");
        await app.Broadcaster.PublishAsync(new Message(new byte[] { 10, 0, 255 }, MessageType.Binary), _members, Token);
        await app.Broadcaster.PublishAsync(Message.FromText("typing") with { IsTransient = true }, _members, Token);
        await app.PublishToAsync(Recipients.Group("/other"), "other");
        await app.PublishAsync("all");
        await client.SendAsync(ClientFrame.CreateText("own"));

        foreach (var (offset, text) in new[] { (1, "text"), (2, "two\nlines"), (3, "") })
            Assert.Equal((ClientFrame.Text, $"{At(start, offset)}\n{text}"), Content(await client.ReadFrameAsync()));
        var binary = await client.ReadFrameAsync();
        Assert.Equal(ClientFrame.Binary, binary.Opcode);
        byte[] expected = [.. Encoding.ASCII.GetBytes($"{At(start, 4)}\n"), 10, 0, 255];
        BytesAssert.Equal(expected, binary.Payload);
        Assert.Equal((ClientFrame.Text, "\ntyping"), Content(await client.ReadFrameAsync()));
        Assert.Equal((ClientFrame.Text, "\nother"), Content(await client.ReadFrameAsync()));
        Assert.Equal((ClientFrame.Text, "\nall"), Content(await client.ReadFrameAsync()));
        Assert.Equal((ClientFrame.Text, $"{At(start, 5)}\nown"), Content(await client.ReadFrameAsync()));
    }

    /// <summary>A client must not be able to forge a header, because other clients would store a wrong position.</summary>
    [Theory]
    [InlineData("00c0ffee00c0ffee-42")]
    [InlineData("00c0ffee00c0ffee-42\nhello")]
    [InlineData("missed 00c0ffee00c0ffee-42\n")]
    [InlineData("recovered 00c0ffee00c0ffee-42\n")]
    [InlineData("heartbeat\nheartbeat")]
    [InlineData("\n")]
    public async Task Receive_PayloadLooksLikeHeader_IsDeliveredAsPayload(string hostile)
    {
        await using var app = await StartAsync(new() { HistoryMessages = 10 });
        await using var client = await OpenAsync(app);
        var start = await ReadStartAsync(client, "joined");
        await using var other = await RawClient.OpenAsync(app);
        await other.SendAsync(ClientFrame.CreateText(hostile));
        Assert.Equal($"{At(start, 1)}\n{hostile}", (await client.ReadFrameAsync()).Text);
        // A raw client receives the text unchanged.
        Assert.Equal(hostile, (await other.ReadFrameAsync()).Text);
    }

    [Theory]
    [InlineData(1, false)]
    [InlineData(2, true)]
    public async Task Reconnect_RandomDisconnects_DeliversEachMessageOnceInOrder(int seed, bool isClustered)
    {
        const int Publishers = 2, Messages = 500;
        await using var app = await StartAsync(new() { HistoryMessages = 100_000, HistoryBytes = 64 * 1024 * 1024 }, isClustered: isClustered);
        await using var second = isClustered ? await StartAsync(new() { HistoryMessages = 100_000, HistoryBytes = 64 * 1024 * 1024 }, isClustered: true) : null;
        BroadcastApp[] nodes = second is null ? [app] : [app, second];
        var random = new Random(seed);
        var received = new List<(string Position, string Text)>();
        var count = 0;
        var first = await OpenAsync(app);
        var position = (await ReadStartAsync(first, "joined")).ToString();
        var epoch = position[..16];
        var publishing = Task.WhenAll(Enumerable.Range(0, Publishers).Select(publisher => Task.Run(async () =>
        {
            for (var i = 0; i < Messages; i++)
            {
                var next = i;
                await Eventually.True(() => (Publishers * next) - Volatile.Read(ref count) < 1_000);
                await nodes[publisher % nodes.Length].PublishToAsync(_members, $"{publisher} {i}");
            }
        }, Token)));
        // The server removes an empty group without messages, and the next group has another epoch. So disconnect
        // only after the first message.
        await first.ReadFrameAsync();
        await first.DisposeAsync();
        for (var rounds = 1; count < Publishers * Messages; rounds++)
        {
            Assert.InRange(rounds, 1, 1_000);
            await using var client = await OpenAsync(nodes[rounds % nodes.Length], $"/ws?after={position}");
            Assert.Equal(position, (await ReadStartAsync(client, "recovered")).ToString());
            for (var i = random.Next(200); i > 0 && count < Publishers * Messages; i--)
            {
                var frame = (await client.ReadFrameAsync()).Text;
                var end = frame.IndexOf('\n', StringComparison.Ordinal);
                position = frame[..end];
                received.Add((position, frame[(end + 1)..]));
                Volatile.Write(ref count, received.Count);
            }

            if (random.Next(2) == 0) client.Reset();
        }

        await publishing;
        Assert.Equal(Enumerable.Range(1, Publishers * Messages).Select(i => $"{epoch}-{i}"), received.Select(message => message.Position));
        for (var publisher = 0; publisher < Publishers; publisher++)
        {
            Assert.Equal(
                Enumerable.Range(0, Messages).Select(i => $"{publisher} {i}"),
                received.Select(message => message.Text).Where(text => text.StartsWith($"{publisher} ", StringComparison.Ordinal)));
        }

        LogAssert.NoErrors(app);
    }

    [Theory]
    [InlineData("00000000000000ff-7")] // The position belongs to another group or epoch.
    [InlineData("{epoch}-11")] // The position is after the newest message.
    [InlineData("{epoch}-4")] // One trimmed message is missing.
    [InlineData("{epoch}-9223372036854775807")]
    public async Task Reconnect_PositionOutsideHistory_SendsMissedThenReplay(string after)
    {
        await using var app = await StartAsync(new() { HistoryMessages = 5, ReplayOnJoin = 3 });
        for (var i = 1; i <= 10; i++) await app.PublishToAsync(_members, $"{i}");
        var epoch = app.Inside().Groups.Find("/ws")!.Epoch;
        await using var client = await OpenAsync(app, "/ws?after=" + after.Replace("{epoch}", $"{epoch:x16}", StringComparison.Ordinal));
        Assert.Equal(new Position(epoch, 7), await ReadStartAsync(client, "missed", 10));
        for (var i = 8; i <= 10; i++) Assert.Equal($"{new Position(epoch, i)}\n{i}", (await client.ReadFrameAsync()).Text);
        await client.AssertOpenAsync();
    }

    /// <summary>
    /// Tests a position of another group. Both groups have a message with this offset, so only the epoch shows the
    /// mistake.
    /// </summary>
    [Fact]
    public async Task Reconnect_PositionOfOtherGroup_IsReportedAndHarmsNoOtherClient()
    {
        await using var app = await StartAsync(new() { HistoryMessages = 10, ReplayOnJoin = 1 });
        await using var other = await OpenAsync(app);
        await ReadStartAsync(other, "joined");
        await app.PublishToAsync(_members, "1", "2", "3");
        await app.PublishToAsync(Recipients.Group("/other"), "a");
        var result = await app.Broadcaster.PublishAsync("b", Recipients.Group("/other"), cancellationToken: Token);
        var after = result.Position!.Value;
        Assert.Equal(2, after.Offset);

        await using var client = await OpenAsync(app, $"/ws?after={after}");
        Assert.Equal(2, (await ReadStartAsync(client, "missed", 3)).Offset);
        Assert.EndsWith("-3\n3", (await client.ReadFrameAsync()).Text, StringComparison.Ordinal);
        await using var events = await EventClient.OpenAsync(app, after: $"{after}");
        Assert.Equal("missed", (await events.NextAsync()).Type);
        Assert.Equal(["3"], await events.ReceiveTextAsync(1));
        await using var reader = app.Broadcaster.ReadAsync("/ws", new() { Replay = Replay.After(after) }, Token).GetAsyncEnumerator(Token);
        var error = await Assert.ThrowsAsync<MessagesMissedException>(() => reader.MoveAsync());
        Assert.Contains("the position belongs to another group or epoch", error.Message, StringComparison.Ordinal);

        await app.PublishToAsync(_members, "4");
        for (var i = 1; i <= 4; i++) Assert.EndsWith($"-{i}\n{i}", (await other.ReadFrameAsync()).Text, StringComparison.Ordinal);
        Assert.EndsWith("-4\n4", (await client.ReadFrameAsync()).Text, StringComparison.Ordinal);
        Assert.Equal(["4"], await events.ReceiveTextAsync(1));
    }

    [Theory]
    [InlineData("?after=7")]
    [InlineData("?after=<script>")]
    [InlineData("?after=00c0ffee00c0ffee-")]
    [InlineData("?after=00C0FFEE00C0FFEE-1")]
    [InlineData("?after=00c0ffee00c0ffee--1")]
    [InlineData("?after=00c0ffee00c0ffee-1&after=00c0ffee00c0ffee-2")]
    public async Task Handshake_MalformedPosition_IsRefusedWithStatus400(string query)
    {
        await using var app = await StartAsync(new());
        foreach (var subprotocol in new[] { null, Subprotocol })
        {
            await using var client = await RawClient.ConnectAsync(app);
            var answer = await client.HandshakeAsync("/ws" + query, ("Sec-WebSocket-Protocol", subprotocol));
            Assert.Equal(400, answer.Status);
            Assert.StartsWith("The query parameter 'after' is not a position.", answer.Body, StringComparison.Ordinal);
        }

        Assert.Equal(0, app.Registry.Count);
        Assert.Equal(0, app.Inside().Groups.Count);
    }

    /// <summary>
    /// Tests a raw client without the subprotocol. The app can write the first position into the HTML of the page, so
    /// the client needs no header.
    /// </summary>
    [Fact]
    public async Task Connect_PlainRawClientWithPosition_ReceivesMissingMessagesWithoutHeader()
    {
        await using var app = await BroadcastApp.StartAsync(
            options: all =>
            {
                all.Groups["/ws"] = new() { HistoryMessages = 10, ReplayOnJoin = 1 };
                all.RawSubprotocols.Add("chat");
            });
        Position? second = null;
        for (var i = 1; i <= 4; i++)
        {
            var result = await app.Broadcaster.PublishAsync($"{i}", _members, cancellationToken: Token);
            if (i == 2) second = result.Position;
        }

        foreach (var subprotocol in new[] { null, "chat" })
        {
            await using var client = await RawClient.ConnectAsync(app);
            Assert.Equal(101, (await client.HandshakeAsync($"/ws?after={second}", ("Sec-WebSocket-Protocol", subprotocol))).Status);
            foreach (var text in new[] { "3", "4" }) Assert.Equal(text, (await client.ReadFrameAsync()).Text);
            await client.AssertOpenAsync();
        }

        await using var empty = await RawClient.ConnectAsync(app);
        Assert.Equal(101, (await empty.HandshakeAsync("/ws?after=&name=x")).Status);
        Assert.Equal("4", (await empty.ReadFrameAsync()).Text);
    }

    [Fact]
    public async Task Connect_FilterSetsReplay_ReplayOfFilterApplies()
    {
        await using var app = await StartAsync(new() { HistoryMessages = 10 }, web => web.MapBroadcast("/ws").UseConnect((context, next) =>
        {
            Assert.NotEqual(default, context.Replay);
            context.Replay = Replay.Last(1);
            return next(context);
        }));
        for (var i = 1; i <= 4; i++) await app.PublishToAsync(_members, $"{i}");
        var epoch = app.Inside().Groups.Find("/ws")!.Epoch;
        await using var client = await OpenAsync(app, $"/ws?after={new Position(epoch, 1)}");
        Assert.Equal(3, (await ReadStartAsync(client, "joined", 4)).Offset);
        Assert.EndsWith("\n4", (await client.ReadFrameAsync()).Text, StringComparison.Ordinal);
    }

    /// <summary>A client that leaves and joins again learns the new position.</summary>
    [Fact]
    public async Task Rejoin_HomeGroup_SendsNewPosition()
    {
        await using var app = await StartAsync(new() { HistoryMessages = 10 });
        await using var client = await OpenAsync(app);
        await ReadStartAsync(client, "joined");
        await client.AssertOpenAsync();
        var id = app.Registry.Connections.Single().Id;
        await app.Broadcaster.LeaveAsync(id, "/ws", Token);
        var missed = await app.Broadcaster.PublishAsync("missed", _members, cancellationToken: Token);
        await app.Broadcaster.JoinAsync(id, "/ws", Token);
        Assert.Equal(missed.Position, await ReadStartAsync(client, "joined"));
    }

    [Fact]
    public async Task Connect_WithCompression_FramesWithHeaderAreCompressed()
    {
        await using var app = await BroadcastApp.StartAsync(options: all => all.CompressMessagesAbove = 100);
        await using var client = await RawClient.ConnectAsync(app);
        var answer = await client.HandshakeAsync(
            "/ws", ("Sec-WebSocket-Protocol", Subprotocol), ("Sec-WebSocket-Extensions", "permessage-deflate"));
        Assert.Equal(101, answer.Status);
        var start = await ReadStartAsync(client, "joined");
        var text = new string('x', 10_000);
        await app.PublishToAsync(_members, text);
        var frame = await client.ReadFrameAsync();
        Assert.True(frame.IsCompressed);
        Assert.Equal($"{At(start, 1)}\n{text}", frame.Text);
    }

    [Fact]
    public async Task Heartbeat_WithSubprotocol_HasHeader()
    {
        var time = new FakeTimeProvider();
        await using var app = await BroadcastApp.StartAsync(
            builder => builder.Services.AddSingleton<TimeProvider>(time),
            options: all =>
            {
                (all.HeartbeatMessage, all.HeartbeatInterval) = ("tick", TimeSpan.FromSeconds(1));
                // The test moves the clock faster than a client can answer pings.
                all.KeepAliveInterval = Timeout.InfiniteTimeSpan;
            });
        await using var client = await OpenAsync(app);
        await ReadStartAsync(client, "joined");
        await client.AssertOpenAsync();
        var frame = client.ReadFrameAsync();
        while (!frame.IsCompleted)
        {
            time.Advance(TimeSpan.FromMilliseconds(250));
            await app.SettleAsync();
        }

        Assert.Equal("heartbeat\ntick", (await frame).Text);
    }

    [Fact]
    public async Task Publish_ExcludedConnection_ReceivesNextMessageWithHigherPosition()
    {
        await using var app = await StartAsync(new() { HistoryMessages = 10 });
        await using var client = await OpenAsync(app);
        var start = await ReadStartAsync(client, "joined");
        await client.AssertOpenAsync();
        var id = app.Registry.Connections.Single().Id;
        await app.PublishToAsync(_members.Except(id), "hidden");
        await app.PublishToAsync(_members, "seen");
        Assert.Equal($"{At(start, 2)}\nseen", (await client.ReadFrameAsync()).Text);
        await using var again = await OpenAsync(app, $"/ws?after={At(start, 2)}");
        await ReadStartAsync(again, "recovered", 2);
        await again.AssertOpenAsync();
    }

    Task<BroadcastApp> StartAsync(GroupOptions group, Action<WebApplication>? map = null, bool isClustered = false) => BroadcastApp.StartAsync(
        builder =>
        {
            if (isClustered) builder.Services.AddBroadcast().AddInMemoryCluster(_cluster);
        },
        map,
        all =>
        {
            all.Groups["/ws"] = all.Groups["/other"] = group;
            all.MaxBacklogBytes = 64 * 1024 * 1024;
        });

    static async Task<RawClient> OpenAsync(BroadcastApp app, string path = "/ws")
    {
        var client = await RawClient.ConnectAsync(app);
        var answer = await client.HandshakeAsync(path, ("Sec-WebSocket-Protocol", Subprotocol));
        Assert.Equal((101, Subprotocol), (answer.Status, answer["Sec-WebSocket-Protocol"]));
        return client;
    }

    /// <summary>
    /// Reads the frame with the result of the join, and returns the position of the client. Also checks the newest
    /// position if <c>newest</c> is set.
    /// </summary>
    static async Task<Position> ReadStartAsync(RawClient client, string kind, long? newest = null)
    {
        var frame = await client.ReadFrameAsync();
        Assert.Equal(ClientFrame.Text, frame.Opcode);
        Assert.StartsWith(kind + " ", frame.Text, StringComparison.Ordinal);
        Assert.EndsWith("\n", frame.Text, StringComparison.Ordinal);
        var parts = frame.Text[..^1].Split(' ');
        Assert.Equal(3, parts.Length);
        Assert.True(Position.TryParse(parts[1], out var position), frame.Text);
        Assert.True(Position.TryParse(parts[2], out var last), frame.Text);
        Assert.Equal((position.Epoch, newest ?? last.Offset), (last.Epoch, last.Offset));
        return position;
    }

    static (int Opcode, string Text) Content(ServerFrame frame) => (frame.Opcode, frame.Text);

    static Position At(Position start, long offset) => new(start.Epoch, offset);
}
