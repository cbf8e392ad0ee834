using Microsoft.AspNetCore.Builder;
using Microsoft.Extensions.DependencyInjection;

namespace Broadcast.Middleware.Tests.Http;

/// <summary>
/// Tests retained values with a real server: raw, structured and reliable WebSocket clients, and event streams.
/// </summary>
public sealed class RetainedMessageTests
{
    readonly InMemoryCluster _cluster = new();

    static CancellationToken Token => TestContext.Current.CancellationToken;

    [Fact]
    public async Task RawClient_Connects_ReceivesNewestOfEachKeyThenLiveMessages()
    {
        await using var app = await StartAsync();
        await PublishAsync(app, "a1", "b1", "a2", "c1");
        await app.Broadcaster.PublishAsync(Message.FromText("c removed") with { Key = "c", RemoveKey = true }, Recipients.Group("/ws"), Token);
        await using var ann = await ConnectAsync(app);
        foreach (var text in new[] { "b1", "a2" }) Assert.Equal(text, (await ann.ReadFrameAsync()).Text);
        await PublishAsync(app, "b2");
        Assert.Equal("b2", (await ann.ReadFrameAsync()).Text);
    }

    [Fact]
    public async Task RawClient_LargeRetainedMessages_ArriveComplete()
    {
        await using var app = await StartAsync();
        var texts = Enumerable.Range(0, 9).Select(i => $"{(char)('a' + i)}{new string('x', 30_000 * (i % 4))}").ToArray();
        await PublishAsync(app, texts);
        await using var ann = await ConnectAsync(app);
        foreach (var text in texts) Assert.Equal(text, (await ann.ReadFrameAsync()).Text);
    }

    [Fact]
    public async Task EventStream_DisconnectedDuringRetainedMessages_ReceivesEveryKeyAfterReconnect()
    {
        await using var app = await StartAsync(historyMessages: 2);
        await PublishAsync(app, "a1", "b1", "c1", "a2");
        string start, id;
        await using (var client = await EventClient.OpenAsync(app))
        {
            start = await client.ReadIdAsync();
            // The first ID is before the first retained value. So a client that disconnects before the first message
            // receives this value after a reconnect.
            Assert.EndsWith("-1", start, StringComparison.Ordinal);
            Assert.Equal("b1", (await client.NextAsync()).Data);
            id = client.LastEventId;
            Assert.EndsWith("-2", id, StringComparison.Ordinal);
        }

        // The history contains every message after b1.
        await using (var again = await EventClient.OpenAsync(app, after: id)) Assert.Equal(["c1", "a2"], await again.ReceiveTextAsync(2));
        await PublishAsync(app, "c2");

        // The history has dropped c1, which the client missed. So the client receives the newest message of each key
        // again.
        await using var third = await EventClient.OpenAsync(app, after: id);
        var missed = await third.NextAsync();
        Assert.Equal(("missed", "unknown"), (missed.Type, missed.Data));
        Assert.Equal(["b1", "a2", "c2"], await third.ReceiveTextAsync(3));
        await using var empty = await EventClient.OpenAsync(app, after: start);
        Assert.Equal("missed", (await empty.NextAsync()).Type);
        Assert.Equal(["b1", "a2", "c2"], await empty.ReceiveTextAsync(3));
    }

    [Fact]
    public async Task PositionClient_Connects_ReceivesValuesWithTheirPositions()
    {
        await using var app = await StartAsync(historyMessages: 1);
        await PublishAsync(app, "a1", "b1", "c1", "a2");
        await using var ann = await ConnectAsync(app, "/ws", ("Sec-WebSocket-Protocol", "positions.broadcast.v1"));
        var joined = (await ann.ReadFrameAsync()).Text;
        var epoch = joined.Split(' ')[1].Split('-')[0];
        Assert.Equal($"joined {epoch}-1 {epoch}-4\n", joined);
        foreach (var text in new[] { "2\nb1", "3\nc1", "4\na2" }) Assert.Equal($"{epoch}-{text}", (await ann.ReadFrameAsync()).Text);

        // The history has a2, so a client that has c1 misses only a2. A client that has b1 receives all values again.
        await using var recovered = await ConnectAsync(app, $"/ws?after={epoch}-3", ("Sec-WebSocket-Protocol", "positions.broadcast.v1"));
        foreach (var text in new[] { $"recovered {epoch}-3 {epoch}-4\n", $"{epoch}-4\na2" }) Assert.Equal(text, (await recovered.ReadFrameAsync()).Text);
        await using var missed = await ConnectAsync(app, $"/ws?after={epoch}-2", ("Sec-WebSocket-Protocol", "positions.broadcast.v1"));
        foreach (var text in new[] { $"missed {epoch}-1 {epoch}-4\n", $"{epoch}-2\nb1", $"{epoch}-3\nc1", $"{epoch}-4\na2" })
            Assert.Equal(text, (await missed.ReadFrameAsync()).Text);
    }

    [Fact]
    public async Task RawClient_WithFilter_ReceivesAcceptedValuesThenAcceptedLiveMessages()
    {
        await using var app = await StartAsync();
        await PublishTaggedAsync(app, "a1 eu", "b1 us", "c1 eu", "d1 eu", "a2 us", "e1 eu");
        var removal = Message.FromText("e removed eu") with { Key = "e", RemoveKey = true, Tags = MessageTags.Create(("region", "eu")) };
        await app.Broadcaster.PublishAsync(removal, Recipients.Group("/ws"), Token);
        await using var ann = await ConnectAsync(app, "/ws?filter=region%20=%20eu");
        // The newest value of a is for another region.
        foreach (var text in new[] { "c1 eu", "d1 eu" }) Assert.Equal(text, (await ann.ReadFrameAsync()).Text);
        await PublishTaggedAsync(app, "b2 eu", "c2 us", "f1 us");
        await app.Broadcaster.PublishAsync(removal, Recipients.Group("/ws"), Token);
        foreach (var text in new[] { "b2 eu", "e removed eu" }) Assert.Equal(text, (await ann.ReadFrameAsync()).Text);
        await ann.AssertOpenAsync();
    }

    [Fact]
    public async Task RawClientWithFilter_Recovers_ReceivesAcceptedMessagesOrRetainedValues()
    {
        await using var app = await StartAsync(historyMessages: 3);
        await PublishTaggedAsync(app, "a1 eu", "b1 us", "c1 eu", "d1 eu", "a2 us", "e1 eu");
        await using var ann = await OpenAsync("");
        var joined = (await ann.ReadFrameAsync()).Text;
        var epoch = joined.Split(' ')[1].Split('-')[0];
        Assert.Equal($"joined {epoch}-1 {epoch}-6\n", joined);
        await ReceivesAsync(ann, "3\nc1 eu", "4\nd1 eu", "6\ne1 eu");

        // The history has the messages from d1 on.
        await using var recovered = await OpenAsync($"&after={epoch}-3");
        Assert.Equal($"recovered {epoch}-3 {epoch}-6\n", (await recovered.ReadFrameAsync()).Text);
        await ReceivesAsync(recovered, "4\nd1 eu", "6\ne1 eu");
        await using var missed = await OpenAsync($"&after={epoch}-2");
        Assert.Equal($"missed {epoch}-1 {epoch}-6\n", (await missed.ReadFrameAsync()).Text);
        await ReceivesAsync(missed, "3\nc1 eu", "4\nd1 eu", "6\ne1 eu");

        await PublishTaggedAsync(app, "c2 us", "b2 eu");
        foreach (var client in new[] { ann, recovered, missed }) await ReceivesAsync(client, "8\nb2 eu");

        Task<RawClient> OpenAsync(string query) =>
            ConnectAsync(app, "/ws?filter=region%20=%20eu" + query, ("Sec-WebSocket-Protocol", "positions.broadcast.v1"));

        async Task ReceivesAsync(RawClient client, params string[] texts)
        {
            foreach (var text in texts) Assert.Equal($"{epoch}-{text}", (await client.ReadFrameAsync()).Text);
        }
    }

    [Fact]
    public async Task ReadAsync_GroupWithRetainedValues_YieldsValuesThenLiveMessages()
    {
        await using var app = await StartAsync();
        await PublishAsync(app, "a1", "b1", "a2");
        await using var reader = app.Broadcaster.ReadAsync("/ws", cancellationToken: Token).GetAsyncEnumerator(Token);
        var received = new List<(string Text, string? Key, long Offset)>();

        while (received.Count < 3)
        {
            if (received.Count == 2) await PublishAsync(app, "b2");
            Assert.True(await reader.MoveNextAsync());
            received.Add((reader.Current.ToString(), reader.Current.Message.Key, reader.Current.Position!.Value.Offset));
        }

        Assert.Equal([("b1", "b", 2), ("a2", "a", 3), ("b2", "b", 4)], received);
    }

    [Fact]
    public async Task StructuredClient_JoinsGroup_ReceivesRetainedMessagesOfGroup()
    {
        await using var app = await BroadcastApp.StartAsync(
            builder => builder.Services.AddSingleton<IGroupAuthorizer>(Rules.AllowAll),
            web => web.MapBroadcast("/ws").Use((context, next) =>
            {
                context.Message = context.Message with { Key = context.Text[..1] };
                return next(context);
            }),
            all => all.Groups["g"] = new() { RetainLatestPerKey = true });
        await using var ann = await JsonClient.OpenAsync(app);
        await JsonClient.SendTextAsync(ann, """{"type":"joinGroup","group":"g","ackId":1}""");
        await JsonClient.SucceedsAsync(ann, 1);
        foreach (var text in new[] { "a1", "b1", "a2" })
        {
            await JsonClient.SendTextAsync(ann, $$"""{"type":"sendToGroup","group":"g","dataType":"text","data":"{{text}}"}""");
            await JsonClient.ReceivesAsync(ann, JsonClient.FromGroup("g", "text", $"\"{text}\""));
        }

        await using var bob = await JsonClient.OpenAsync(app);
        await JsonClient.SendTextAsync(bob, """{"type":"joinGroup","group":"g","ackId":2}""");

        foreach (var text in new[] { "b1", "a2" }) await JsonClient.ReceivesAsync(bob, JsonClient.FromGroup("g", "text", $"\"{text}\""));
        await JsonClient.SucceedsAsync(bob, 2);
        await JsonClient.ReceivesNothingElseAsync(bob);
    }

    [Fact]
    public async Task ReliableClient_Reconnects_ReceivesUnacknowledgedRetainedMessagesAgain()
    {
        var clock = new RecoveryClock();
        await using var app = await BroadcastApp.StartReliableAsync(clock, all => all.Groups["g"] = new() { RetainLatestPerKey = true });
        await PublishToAsync(app, "g", "a1", "b1", "a2", "c1");
        await using var client = await ReliableClient.OpenAsync(app);
        Assert.True(await app.Broadcaster.JoinAsync(client.Id, "g", Token));
        var before = await client.ReceivesAsync("b1", "a2", "c1");
        await client.AcknowledgedAsync(app, before[0].Id);

        client.Disconnect();
        await clock.WaitsAsync();
        await PublishToAsync(app, "g", "a3");
        await using var again = await client.ReconnectAsync(app);

        // The client acknowledged b1. So the server resends only a2 and c1, with the IDs that they had before the
        // disconnect.
        var after = await again.ReceivesAsync("a2", "c1", "a3");
        Assert.Equal(before[1..], after[..2]);
        await again.AcknowledgedAsync(app, after[2].Id);
        await PublishToAsync(app, "g", "b2");
        await again.ReceivesAsync("b2");
        again.Disconnect();
        await clock.WaitsAsync(2);
        await using var third = await again.ReconnectAsync(app);
        await third.ReceivesAsync("b2");
        await JsonClient.ReceivesNothingElseAsync(third.Transport);
        LogAssert.NoErrors(app);
    }

    [Fact]
    public async Task TwoNodes_SecondNodeStartsLater_ClientsOfSecondNodeReceiveRetainedMessages()
    {
        await using var one = await StartAsync(clustered: true);
        await using var ann = await RawClient.OpenAsync(one);
        await PublishAsync(one, "a1", "b1", "a2");
        await using var two = await StartAsync(clustered: true);
        await using var bob = await ConnectAsync(two);
        await using var eve = await EventClient.OpenAsync(two);
        foreach (var text in new[] { "b1", "a2" }) Assert.Equal(text, (await bob.ReadFrameAsync()).Text);
        Assert.Equal(["b1", "a2"], await eve.ReceiveTextAsync(2));
        await PublishAsync(two, "b2", "c1");

        foreach (var text in new[] { "a1", "b1", "a2", "b2", "c1" }) Assert.Equal(text, (await ann.ReadFrameAsync()).Text);
        foreach (var text in new[] { "b2", "c1" }) Assert.Equal(text, (await bob.ReadFrameAsync()).Text);
        Assert.Equal(["b2", "c1"], await eve.ReceiveTextAsync(2));
        await using var later = await ConnectAsync(one);
        foreach (var text in new[] { "a2", "b2", "c1" }) Assert.Equal(text, (await later.ReadFrameAsync()).Text);
    }

    [Fact]
    public async Task MaxRetainedKeys_OtherKeysPublishedOnOtherNode_PublishThrows()
    {
        await using var one = await StartAsync(clustered: true, maxKeys: 2);
        await using var two = await StartAsync(clustered: true, maxKeys: 2);
        await PublishAsync(one, "a1", "b1");

        var error = await Assert.ThrowsAsync<InvalidOperationException>(() => PublishAsync(two, "c1"));

        Assert.StartsWith(
            "The group '/ws' cannot retain the message. The group would have 3 keys, and MaxRetainedKeys is 2.", error.Message, StringComparison.Ordinal);
        await PublishAsync(two, "b2");
        await using var ann = await ConnectAsync(two);
        foreach (var text in new[] { "a1", "b2" }) Assert.Equal(text, (await ann.ReadFrameAsync()).Text);
    }

    Task<BroadcastApp> StartAsync(bool clustered = false, int historyMessages = 0, int maxKeys = 100) => BroadcastApp.StartAsync(
        builder =>
        {
            if (clustered) builder.Services.AddBroadcast().AddInMemoryCluster(_cluster);
        },
        options: options =>
        {
            options.AllowClientFilters = true;
            options.Groups["/ws"] = new() { HistoryMessages = historyMessages, RetainLatestPerKey = true, MaxRetainedKeys = maxKeys };
        });

    /// <summary>Connects without a ping, because the retained values come before the pong.</summary>
    static async Task<RawClient> ConnectAsync(BroadcastApp app, string path = "/ws", params (string Name, string? Value)[] headers)
    {
        var client = await RawClient.ConnectAsync(app);
        Assert.Equal(101, (await client.HandshakeAsync(path, headers)).Status);
        return client;
    }

    static Task PublishAsync(BroadcastApp app, params string[] texts) => PublishToAsync(app, "/ws", texts);

    /// <summary>Publishes texts with a key and a region, such as <c>a1 eu</c>.</summary>
    static async Task PublishTaggedAsync(BroadcastApp app, params string[] texts)
    {
        foreach (var text in texts)
        {
            var message = Message.FromText(text) with { Key = text[..1], Tags = MessageTags.Create(("region", text[^2..])) };
            await app.Broadcaster.PublishAsync(message, Recipients.Group("/ws"), Token);
        }
    }

    /// <summary>Publishes texts. The first character of a text is its key.</summary>
    static async Task PublishToAsync(BroadcastApp app, string group, params string[] texts)
    {
        foreach (var text in texts)
            await app.Broadcaster.PublishAsync(Message.FromText(text) with { Key = text[..1] }, Recipients.Group(group), Token);
    }
}
