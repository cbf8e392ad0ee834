using Microsoft.AspNetCore.Builder;
using Microsoft.Extensions.DependencyInjection;

namespace Broadcast.Middleware.Tests.Http;

/// <summary>
/// Tests transient messages with a real server: raw, structured and reliable WebSocket clients, and event streams.
/// </summary>
public sealed class TransientMessageTests
{
    static readonly Recipients _members = Recipients.Group("/ws");

    readonly InMemoryCluster _cluster = new();

    static CancellationToken Token => TestContext.Current.CancellationToken;

    [Fact]
    public async Task EventStream_ReconnectAfterTransientMessage_RecoversStoredMessagesOnly()
    {
        await using var app = await StartAsync();
        string last;
        await using (var client = await EventClient.OpenAsync(app))
        {
            await PublishAsync(app, "1");
            await PublishTransientAsync(app, "typing");
            Assert.Equal("1", (await client.NextAsync()).Data);
            last = client.LastEventId;
            var transient = await client.NextAsync();
            // The event has no ID, so the client keeps the ID of the previous event.
            Assert.Equal(("typing", last), (transient.Data, client.LastEventId));
        }

        await PublishTransientAsync(app, "missed");
        await PublishAsync(app, "2");
        await PublishTransientAsync(app, "missed too");
        await using var again = await EventClient.OpenAsync(app, after: last);
        Assert.Equal(last, await again.ReadIdAsync());
        await PublishTransientAsync(app, "typing again");
        await PublishAsync(app, "3");
        // An event "missed" would mean that the recovery failed.
        Assert.Equal(["2", "typing again", "3"], await again.ReceiveTextAsync(3));
    }

    [Fact]
    public async Task RawClients_TransientBetweenMessages_GetAllMessagesInOrder()
    {
        await using var app = await StartAsync();
        await using var ann = await RawClient.OpenAsync(app);
        var expected = new List<string>();
        for (var i = 0; i < 40; i++)
        {
            expected.Add($"{i}");
            if (i % 2 == 0) await PublishAsync(app, $"{i}");
            else await PublishTransientAsync(app, $"{i}");
            foreach (var text in i == 20 ? expected : []) Assert.Equal(text, (await ann.ReadFrameAsync()).Text);
        }

        // A client that joins later receives the history without the transient messages.
        await using var late = await EventClient.OpenAsync(app);
        Assert.Equal(expected.Where((_, i) => i % 2 == 0), await late.ReceiveTextAsync(20));
        foreach (var text in expected.Skip(21)) Assert.Equal(text, (await ann.ReadFrameAsync()).Text);
        await PublishTransientAsync(app, "now");
        Assert.Equal("now", (await ann.ReadFrameAsync()).Text);
        Assert.Equal(["now"], await late.ReceiveTextAsync(1));
    }

    [Fact]
    public async Task StructuredClient_TransientMessage_ArrivesWithGroupAndIsNotReplayed()
    {
        await using var app = await BroadcastApp.StartAsync(
            builder => builder.Services.AddSingleton<IGroupAuthorizer>(Rules.AllowAll),
            web => web.MapBroadcast("/ws").Use((context, next) =>
            {
                context.Message = context.Message with { IsTransient = true };
                return next(context);
            }),
            all => all.Groups["g"] = new() { HistoryMessages = 10, ReplayOnJoin = 10 });
        await using var ann = await JsonClient.OpenAsync(app);
        await JsonClient.SendTextAsync(ann, """{"type":"joinGroup","group":"g","ackId":1}""");
        await JsonClient.SucceedsAsync(ann, 1);
        await JsonClient.SendTextAsync(ann, """{"type":"sendToGroup","group":"g","dataType":"json","data":{"typing":true}}""");
        await JsonClient.ReceivesAsync(ann, JsonClient.FromGroup("g", "json", """{"typing":true}"""));
        await using var bob = await JsonClient.OpenAsync(app);
        await JsonClient.SendTextAsync(bob, """{"type":"joinGroup","group":"g","ackId":2}""");
        await JsonClient.SucceedsAsync(bob, 2);
        await JsonClient.ReceivesNothingElseAsync(bob);
    }

    /// <summary>
    /// A reliable client acknowledges sequence IDs. A disconnected client misses transient messages. The gap in the IDs
    /// must not prevent a reconnect.
    /// </summary>
    [Fact]
    public async Task ReliableClient_Reconnect_ResendsStoredMessagesButNoTransientMessages()
    {
        var clock = new RecoveryClock();
        await using var app = await BroadcastApp.StartReliableAsync(clock);
        await using var client = await ReliableClient.OpenAsync(app);
        await PublishAsync(app, "1");
        await PublishTransientAsync(app, "seen");
        await PublishAsync(app, "2");
        var before = await client.ReceivesAsync("1", "seen", "2");
        await client.AcknowledgedAsync(app, before[0].Id);

        client.Disconnect();
        await clock.WaitsAsync();
        await PublishTransientAsync(app, "missed");
        await PublishAsync(app, "3");
        await PublishTransientAsync(app, "missed too");
        await app.Broadcaster.PublishAsync(Transient("private"), Recipients.Connection(client.Id), Token);
        await using var again = await client.ReconnectAsync(app);
        var after = await again.ReceivesAsync("2", "3");
        Assert.Equal(before[2].Id, after[0].Id);

        // The newest sequence ID belongs to a transient message. The client acknowledges this ID, disconnects, and
        // reconnects.
        await PublishTransientAsync(app, "last");
        var last = await again.ReceivesAsync("last");
        await again.AcknowledgedAsync(app, last[0].Id);
        again.Disconnect();
        await clock.WaitsAsync(2);
        await using var third = await again.ReconnectAsync(app);
        await PublishTransientAsync(app, "live");
        await PublishAsync(app, "4");
        await third.ReceivesAsync("live", "4");
        await JsonClient.ReceivesNothingElseAsync(third.Transport);
        LogAssert.NoErrors(app);
    }

    /// <summary>
    /// The client is disconnected when the group gets its first transient messages. In the second case, these messages
    /// have 2 MiB in total, so the transient log drops the oldest messages.
    /// </summary>
    [Theory]
    [InlineData(1, 10)]
    [InlineData(32, 64 * 1024)]
    public async Task ReliableClient_FirstTransientMessagesWhileDisconnected_ReceivesOnlyStoredMessages(int count, int length)
    {
        var clock = new RecoveryClock();
        await using var app = await BroadcastApp.StartReliableAsync(clock);
        await using var client = await ReliableClient.OpenAsync(app);
        await PublishAsync(app, "1");
        await PublishAsync(app, "2");
        var before = await client.ReceivesAsync("1", "2");
        await client.AcknowledgedAsync(app, before[0].Id);

        client.Disconnect();
        await clock.WaitsAsync();
        for (var i = 0; i < count; i++) await PublishTransientAsync(app, new string('x', length));
        await PublishAsync(app, "3");
        await PublishTransientAsync(app, "missed too");
        await using var again = await client.ReconnectAsync(app);
        var after = await again.ReceivesAsync("2", "3");
        Assert.Equal(before[1].Id, after[0].Id);
        await PublishTransientAsync(app, "live");
        await PublishAsync(app, "4");
        await again.ReceivesAsync("live", "4");
        await JsonClient.ReceivesNothingElseAsync(again.Transport);
        LogAssert.NoErrors(app);
    }

    /// <summary>
    /// The client disconnects before it acknowledges a transient message, which has the newest sequence ID.
    /// </summary>
    [Theory]
    [InlineData(false)]
    [InlineData(true)]
    public async Task ReliableClient_UnacknowledgedTransientMessage_DoesNotPreventReconnects(bool isPrivate)
    {
        var clock = new RecoveryClock();
        await using var app = await BroadcastApp.StartReliableAsync(clock, all => all.MaxUnacknowledgedMessages = 5);
        var client = await ReliableClient.OpenAsync(app);
        for (var round = 1; round <= 5; round++)
        {
            // Transient messages do not count as unacknowledged. Otherwise, the client could not reconnect.
            var recipients = isPrivate ? Recipients.Connection(client.Id) : _members;
            for (var i = 0; i < 20; i++) await app.Broadcaster.PublishAsync(Transient($"{round} {i}"), recipients, Token);
            await client.ReceivesAsync([.. Enumerable.Range(0, 20).Select(i => $"{round} {i}")]);
            client.Disconnect();
            await clock.WaitsAsync(round);
            client = await client.ReconnectAsync(app);
        }

        await PublishAsync(app, "end");
        await client.ReceivesAsync("end");
        await client.DisposeAsync();
    }

    [Fact]
    public async Task TwoNodes_TransientMessage_ReachesClientsOfBothNodesButNoHistory()
    {
        await using var one = await StartAsync(clustered: true);
        await using var two = await StartAsync(clustered: true);
        await using var ann = await RawClient.OpenAsync(one);
        await using var bob = await RawClient.OpenAsync(two);
        for (var i = 0; i < 10; i++)
        {
            await PublishAsync(one, $"{i}");
            Assert.Null((await PublishTransientAsync(one, $"t{i}")).Position);
        }

        foreach (var client in (RawClient[])[ann, bob])
        {
            for (var i = 0; i < 10; i++)
            {
                Assert.Equal($"{i}", (await client.ReadFrameAsync()).Text);
                Assert.Equal($"t{i}", (await client.ReadFrameAsync()).Text);
            }
        }

        await using var late = await EventClient.OpenAsync(two);
        Assert.Equal(Enumerable.Range(0, 10).Select(i => $"{i}"), await late.ReceiveTextAsync(10));
        var id = two.Registry.Connections.OrderBy(connection => connection.ConnectedAt).Last().Id;
        await one.Broadcaster.PublishAsync(Transient("private"), Recipients.Connection(id), Token);
        Assert.Equal(["private"], await late.ReceiveTextAsync(1));
    }

    Task<BroadcastApp> StartAsync(bool clustered = false) => BroadcastApp.StartAsync(
        builder =>
        {
            if (clustered) builder.Services.AddBroadcast().AddInMemoryCluster(_cluster);
        },
        options: options => options.Groups["/ws"] = new() { HistoryMessages = 100, ReplayOnJoin = 100 });

    static async Task PublishAsync(BroadcastApp app, string text) => await app.Broadcaster.PublishAsync(text, _members, cancellationToken: Token);

    static async Task<PublishResult> PublishTransientAsync(BroadcastApp app, string text) =>
        await app.Broadcaster.PublishAsync(Transient(text), _members, Token);

    static Message Transient(string text) => Message.FromText(text) with { IsTransient = true };
}
