using System.Globalization;
using Microsoft.Extensions.DependencyInjection;
using Microsoft.Extensions.Time.Testing;

namespace Broadcast.Middleware.Tests.Http;

/// <summary>Tests clients that reconnect with the ID of their last event.</summary>
public sealed class EventStreamRecoveryTests
{
    static CancellationToken Token => TestContext.Current.CancellationToken;

    [Theory]
    [InlineData(1)]
    [InlineData(2)]
    public async Task Reconnect_RandomDisconnects_DeliversEachMessageOnceInOrder(int seed)
    {
        const int Publishers = 3, Messages = 1_500;
        await using var app = await StartAsync(new() { HistoryMessages = 100_000, HistoryBytes = 64 * 1024 * 1024 });
        var random = new Random(seed);
        var heard = new List<ServerEvent>();
        var count = 0;
        var publishing = Task.WhenAll(Enumerable.Range(0, Publishers).Select(publisher => Task.Run(async () =>
        {
            for (var i = 0; i < Messages; i++)
            {
                var next = i;
                await Eventually.True(() => (Publishers * next) - Volatile.Read(ref count) < 2_000);
                await PublishAsync(app, $"{publisher} {i}");
            }
        }, Token)));

        // Use the position before the first message, because the publishers may publish before the client connects.
        var first = await EventClient.OpenAsync(app);
        var id = (await first.ReadIdAsync())[..17] + "0";
        await first.DisposeAsync();
        for (var rounds = 1; count < Publishers * Messages; rounds++)
        {
            await using var client = await EventClient.OpenAsync(app, after: id);
            Assert.Equal(id, await client.ReadIdAsync());
            for (var i = random.Next(200); i > 0 && count < Publishers * Messages; i--)
            {
                heard.Add(await client.NextAsync());
                Volatile.Write(ref count, heard.Count);
            }

            id = client.LastEventId;
            switch (random.Next(3))
            {
                case 0:
                    client.Reset();
                    break;
                case 1:
                    client.Finish();
                    break;
            }

            Assert.InRange(rounds, 1, 1_000);
        }

        await publishing;
        Assert.All(heard, next => Assert.Equal("message", next.Type));
        Assert.Equal(Enumerable.Range(1, Publishers * Messages), heard.Select(next => Offset(next.Id)));
        for (var publisher = 0; publisher < Publishers; publisher++)
        {
            Assert.Equal(
                Enumerable.Range(0, Messages).Select(i => $"{publisher} {i}"),
                heard.Select(next => next.Data).Where(data => data.StartsWith($"{publisher} ", StringComparison.Ordinal)));
        }

        await Eventually.True(() => app.Registry.Count == 0);
        LogAssert.NoErrors(app);
    }

    /// <summary>
    /// Tests an ID in the query string. Some polyfills of EventSource use the query string, because they cannot set the
    /// header.
    /// </summary>
    [Fact]
    public async Task Reconnect_IdInQueryString_SendsMissingMessages()
    {
        await using var app = await StartAsync(new() { HistoryMessages = 10 });
        await using var first = await EventClient.OpenAsync(app);
        var start = await first.ReadIdAsync();
        for (var i = 1; i <= 3; i++) await PublishAsync(app, $"{i}");

        await using var client = await EventClient.OpenAsync(app, $"/ws?lastEventId={start}");

        Assert.Equal(["1", "2", "3"], await client.ReceiveTextAsync(3));
    }

    /// <summary>
    /// Tests a URL with an old ID. The query string of a URL stays the same, but a browser sends a newer ID in the
    /// header of each reconnect.
    /// </summary>
    [Fact]
    public async Task Reconnect_IdInHeaderAndQueryString_UsesHeader()
    {
        await using var app = await StartAsync(new() { HistoryMessages = 10 });
        await using var first = await EventClient.OpenAsync(app);
        var start = await first.ReadIdAsync();
        for (var i = 1; i <= 3; i++) await PublishAsync(app, $"{i}");
        await first.ReceiveTextAsync(2);

        await using var client = await EventClient.OpenAsync(app, $"/ws?lastEventId={start}", after: first.LastEventId);

        Assert.Equal(["3"], await client.ReceiveTextAsync(1));
    }

    [Theory]
    [InlineData("another epoch", "00000000000000ff-7")]
    [InlineData("malformed", "7")]
    [InlineData("markup", "<script>")]
    [InlineData("not ASCII", "é🛰")]
    [InlineData("negative", "{epoch}--1")]
    [InlineData("a number that is too large", "{epoch}-99999999999999999999")]
    [InlineData("the largest number", "{epoch}-9223372036854775807")]
    [InlineData("ahead of the newest message", "{epoch}-11")]
    [InlineData("one trimmed message is missing", "{epoch}-4")]
    [InlineData("several trimmed messages are missing", "{epoch}-0")]
    public async Task Reconnect_UnknownOrTrimmedId_SendsMissedEventThenReplay(string description, string id)
    {
        await using var app = await StartAsync(new() { HistoryMessages = 5, ReplayOnJoin = 3 });
        for (var i = 1; i <= 10; i++) await PublishAsync(app, $"{i}");
        await using var fresh = await EventClient.OpenAsync(app);
        var epoch = (await fresh.ReadIdAsync())[..16];
        Assert.Equal(["8", "9", "10"], await fresh.ReceiveTextAsync(3));
        await using var client = await EventClient.OpenAsync(app, after: id.Replace("{epoch}", epoch, StringComparison.Ordinal));

        Assert.Equal(new ServerEvent("missed", "unknown", $"{epoch}-7", true), await client.NextAsync());
        for (var i = 8; i <= 10; i++) Assert.Equal(new ServerEvent("message", $"{i}", $"{epoch}-{i}", true), await client.NextAsync());
        await PublishAsync(app, "11");
        Assert.True((await client.NextAsync()).Data == "11", description);

        // A client can resume from each ID that it has received.
        for (var from = 7; from <= 11; from++)
        {
            await using var back = await EventClient.OpenAsync(app, after: $"{epoch}-{from}");
            Assert.Equal(Enumerable.Range(from + 1, 11 - from).Select(i => $"{i}"), await back.ReceiveTextAsync(11 - from));
        }
    }

    [Fact]
    public async Task Reconnect_IdWithinHistory_SendsExactlyTheMissingMessages()
    {
        await using var app = await StartAsync(new() { HistoryMessages = 5, ReplayOnJoin = 3 });
        for (var i = 1; i <= 10; i++) await PublishAsync(app, $"{i}");
        await using var fresh = await EventClient.OpenAsync(app);
        var epoch = (await fresh.ReadIdAsync())[..16];
        for (var from = 5; from <= 10; from++)
        {
            await using var client = await EventClient.OpenAsync(app, after: $"{epoch}-{from}");
            Assert.Equal($"{epoch}-{from}", await client.ReadIdAsync());
            for (var i = from + 1; i <= 10; i++) Assert.Equal(new ServerEvent("message", $"{i}", $"{epoch}-{i}", true), await client.NextAsync());
            await app.Broadcaster.PublishAsync("now", Recipients.Everyone, cancellationToken: Token);
            Assert.Equal(["now"], await client.ReceiveTextAsync(1));
        }
    }

    [Fact]
    public async Task Connect_EmptyLastEventId_IsTreatedAsNewClient()
    {
        await using var app = await StartAsync(new() { HistoryMessages = 5, ReplayOnJoin = 1 });
        for (var i = 1; i <= 3; i++) await PublishAsync(app, $"{i}");
        await using var client = await EventClient.OpenAsync(app, after: "");
        Assert.Equal(["3"], await client.ReceiveTextAsync(1));
    }

    [Fact]
    public async Task Reconnect_VeryLongId_SendsMissedEvent()
    {
        await using var app = await StartAsync(new() { HistoryMessages = 5 });
        await using var client = await EventClient.OpenAsync(app, after: new string('7', 20_000));
        Assert.Equal("missed", (await client.NextAsync()).Type);
        LogAssert.NoErrors(app);
    }

    [Fact]
    public async Task Reconnect_NoHistory_SendsMissedEventOnlyAfterLoss()
    {
        await using var app = await BroadcastApp.StartAsync();
        await using var witness = await EventClient.OpenAsync(app);
        await using var first = await EventClient.OpenAsync(app);
        await PublishAsync(app, "1");
        Assert.Equal(["1"], await first.ReceiveTextAsync(1));
        first.Reset();

        await using var second = await EventClient.OpenAsync(app, after: first.LastEventId);
        await PublishAsync(app, "2");
        Assert.Equal(["2"], await second.ReceiveTextAsync(1));
        second.Reset();

        await PublishAsync(app, "3");
        await using var third = await EventClient.OpenAsync(app, after: second.LastEventId);
        await PublishAsync(app, "4");
        var missed = await third.NextAsync();
        Assert.Equal(("missed", "unknown", 3), (missed.Type, missed.Data, Offset(missed.Id)));
        Assert.Equal(["4"], await third.ReceiveTextAsync(1));
        Assert.Equal(["1", "2", "3", "4"], await witness.ReceiveTextAsync(4));
    }

    [Fact]
    public async Task Reconnect_MessageToSeveralGroups_IsNotSentAgain()
    {
        await using var app = await StartAsync(new() { HistoryMessages = 100 });
        await using var first = await EventClient.OpenAsync(app);
        await app.Broadcaster.JoinAsync(Assert.Single(app.Registry.Connections).Id, "other", Token);
        await app.Broadcaster.PublishAsync("both", Recipients.Groups("other", "/ws"), cancellationToken: Token);
        Assert.Equal(["both"], await first.ReceiveTextAsync(1));
        first.Reset();
        await Eventually.True(() => app.Registry.Count == 0);
        await PublishAsync(app, "next");
        await using var second = await EventClient.OpenAsync(app, after: first.LastEventId);
        Assert.Equal(["next"], await second.ReceiveTextAsync(1));
    }

    [Fact]
    public async Task Reconnect_AfterSkip_ResumesBeforeTheGap()
    {
        await using var app = await BroadcastApp.StartAsync(Stall.SmallSendBuffers, options: options =>
        {
            options.MaxBacklogBytes = 128 * 1024;
            options.Groups["/ws"] = new() { HistoryMessages = 100_000, HistoryBytes = 128 * 1024 * 1024, SlowConsumer = SlowConsumer.SkipToLatest };
        });
        using var meters = new Meters(app);
        await using var slow = await EventClient.OpenAsync(app, receiveBuffer: Stall.SmallWindow);
        await PublishAsync(app, "1");
        ServerEvent heard = await slow.NextAsync();
        var before = heard.Id;
        // A pump that runs late finds all messages in the history and skips none. The pump skips messages only if it
        // runs during a pending write. So publish until a message is dropped.
        var last = 1;
        await Eventually.True(() =>
        {
            for (var i = 0; i < 200; i++) app.Broadcaster.PublishAsync(Message.FromText($"{++last} {new string('x', 1_000)}"), Recipients.Group("/ws"), Token).AsTask().GetAwaiter().GetResult();
            return meters.Sum(Meters.Dropped) > 0;
        });
        while ((heard = await slow.NextAsync()).Type != "missed") before = heard.Id;
        Assert.Equal(before, heard.Id);
        Assert.True(Offset(before) > 0);
        slow.Reset();

        // The client received no message after the gap, so the server now sends all skipped messages.
        await using var back = await EventClient.OpenAsync(app, after: before);
        for (var i = Offset(before) + 1; i <= last; i++) Assert.StartsWith($"{i} ", (await back.NextAsync()).Data, StringComparison.Ordinal);
    }

    [Theory]
    [InlineData(0)]
    [InlineData(1)]
    [InlineData(30)]
    [InlineData(200)]
    public async Task Reconnect_AfterConflation_LosesOnlyReplacedMessages(int cutAfter)
    {
        const int Messages = 3_000, Keys = 20;
        var time = new FakeTimeProvider();
        await using var app = await BroadcastApp.StartAsync(
            builder =>
            {
                Stall.SmallSendBuffers(builder);
                builder.Services.AddSingleton<TimeProvider>(time);
            },
            options: options =>
            {
                (options.MaxBacklogBytes, options.SendTimeout, options.KeepAliveInterval) = (8 * 1024 * 1024, Timeout.InfiniteTimeSpan, Timeout.InfiniteTimeSpan);
                options.Groups["/ws"] = new()
                {
                    HistoryMessages = 100_000, HistoryBytes = 8 * 1024 * 1024, HistoryAge = Timeout.InfiniteTimeSpan, SlowConsumer = SlowConsumer.Conflate,
                };
            });
        await using var slow = await EventClient.OpenAsync(app, receiveBuffer: Stall.SmallWindow);
        // These bytes exceed the capacity of all buffers between the server and the client.
        var id = Assert.Single(app.Registry.Connections).Id;
        for (var i = 0; i < 16; i++) await app.Broadcaster.PublishAsync(new byte[64 * 1024], Recipients.Connection(id), cancellationToken: Token);
        for (var i = 1; i <= Messages; i++)
        {
            var message = Message.FromText($"{i}") with { Key = i % 10 == 0 ? null : $"{i % Keys}" };
            await app.Broadcaster.PublishAsync(message, Recipients.Group("/ws"), cancellationToken: Token);
        }

        var got = new List<int>();
        await ReadAsync(slow, cutAfter);
        Assert.True(got.Count < 2 || got.Zip(got.Skip(1)).Any(pair => pair.Second > pair.First + 1), "No message was replaced.");
        slow.Reset();
        await using var back = await EventClient.OpenAsync(app, after: id);
        await ReadAsync(back, int.MaxValue);

        Assert.Equal(got.Order().Distinct(), got);
        Assert.Empty(Enumerable.Range(1, Messages).Where(i => i % 10 == 0).Except(got));
        for (var key = 1; key < Keys; key++)
        {
            if (key % 10 != 0) Assert.Contains(Enumerable.Range(1, Messages).Last(i => i % Keys == key && i % 10 != 0), got);
        }

        async Task ReadAsync(EventClient client, int atMost)
        {
            id = await client.ReadIdAsync();
            while (atMost > 0 && (got.Count == 0 || got[^1] != Messages))
            {
                // Let each write wait so long that the server treats the client as slow.
                time.Advance(TimeSpan.FromSeconds(1));
                var heard = await client.NextAsync();
                Assert.NotEqual("missed", heard.Type);
                if (!heard.HasOwnId) continue;
                got.Add(int.Parse(heard.Data, CultureInfo.InvariantCulture));
                Assert.Equal(got[^1], Offset(heard.Id));
                id = heard.Id;
                atMost--;
            }
        }
    }

    static Task<BroadcastApp> StartAsync(GroupOptions group) => BroadcastApp.StartAsync(options: options => options.Groups["/ws"] = group);

    static async Task PublishAsync(BroadcastApp app, string text) => await app.Broadcaster.PublishAsync(text, Recipients.Group("/ws"), cancellationToken: Token);

    static int Offset(string id)
    {
        Assert.True(Position.TryParse(id, out var position), id);
        return (int)position.Offset;
    }
}
