using Microsoft.AspNetCore.Builder;
using Microsoft.Extensions.DependencyInjection;

namespace Broadcast.Middleware.Tests.Clustering;

/// <summary>Tests features across two nodes: protocols, event streams, filters and private messages.</summary>
public sealed class TwoNodesFeatureTests
{
    readonly InMemoryCluster _cluster = new();

    static CancellationToken Token => TestContext.Current.CancellationToken;

    [Fact]
    public async Task JsonClients_OnTwoNodes_ExchangeAllDataTypes()
    {
        await using var one = await StartAsync();
        await using var two = await StartAsync();
        await using var ann = await JsonClient.OpenAsync(one, headers: TestUsers.As("ann"));
        await using var bob = await JsonClient.OpenAsync(two);
        foreach (var client in (RawClient[])[ann, bob])
        {
            await JsonClient.SendTextAsync(client, """{"type":"joinGroup","group":"g","ackId":1}""");
            await JsonClient.SucceedsAsync(client, 1);
        }

        await JsonClient.SendTextAsync(
            ann,
            """{"type":"sendToGroup","group":"g","noEcho":true,"dataType":"text","data":"hi"}""",
            """{"type":"sendToGroup","group":"g","noEcho":true,"dataType":"json","data":{"a": [1.50]}}""",
            """{"type":"sendToGroup","group":"g","noEcho":true,"dataType":"binary","data":"AQID"}""");
        await JsonClient.ReceivesAsync(
            bob,
            JsonClient.FromGroup("g", "text", "\"hi\"", "ann"),
            JsonClient.FromGroup("g", "json", """{"a": [1.50]}""", "ann"),
            JsonClient.FromGroup("g", "binary", "\"AQID\"", "ann"));
        await JsonClient.ReceivesNothingElseAsync(ann);

        await two.Broadcaster.PublishAsync(Message.FromJson(7, JsonContext.Default.Int32), Recipients.User("ann"), cancellationToken: Token);
        await JsonClient.ReceivesAsync(ann, JsonClient.FromServer("json", "7"));
    }

    [Fact]
    public async Task RawClient_MessagesFromOtherNode_KeepTheirType()
    {
        await using var one = await StartAsync();
        await using var two = await StartAsync();
        await using var ann = await RawClient.OpenAsync(one);
        byte[] bytes = [0, 255, 128, 1];
        await two.Broadcaster.PublishAsync(new Message(bytes, MessageType.Binary), Recipients.Group("/ws"), cancellationToken: Token);
        await two.Broadcaster.PublishAsync("äöü", Recipients.Group("/ws"), cancellationToken: Token);
        var (first, second) = (await ann.ReadFrameAsync(), await ann.ReadFrameAsync());
        Assert.Equal((ClientFrame.Binary, ClientFrame.Text, "äöü"), (first.Opcode, second.Opcode, second.Text));
        Assert.Equal(bytes, first.Payload);
    }

    [Fact]
    public async Task EventStream_ReconnectToOtherNode_ContinuesAfterLastReceivedEvent()
    {
        await using var one = await StartAsync();
        await using var two = await StartAsync();
        string last;
        await using (var ann = await EventClient.OpenAsync(one))
        {
            for (var i = 1; i <= 3; i++) await two.Broadcaster.PublishAsync($"{i}", Recipients.Group("/ws"), cancellationToken: Token);
            Assert.Equal(["1", "2"], await ann.ReceiveTextAsync(2));
            last = ann.LastEventId;
        }

        await one.Broadcaster.PublishAsync("4", Recipients.Group("/ws"), cancellationToken: Token);
        await using var again = await EventClient.OpenAsync(two, after: last);
        await one.Broadcaster.PublishAsync("5", Recipients.Group("/ws"), cancellationToken: Token);
        Assert.Equal(["3", "4", "5"], await again.ReceiveTextAsync(3));
    }

    [Fact]
    public async Task MessageFilter_AfterPublish_ReceivesClusterPosition()
    {
        var positions = new System.Collections.Concurrent.ConcurrentQueue<Position?>();
        await using var one = await StartAsync(app => app.MapBroadcast("/ws").Use(async (context, next) =>
        {
            await next(context);
            positions.Enqueue(context.Result.Position);
        }));
        await using var two = await StartAsync();
        await using var ann = await RawClient.OpenAsync(one);
        await using var bob = await EventClient.OpenAsync(two);
        await ann.SendAsync(ClientFrame.CreateText("1"), ClientFrame.CreateText("2"));

        foreach (var expected in (string[])["1", "2"])
        {
            var received = await bob.NextAsync();
            Assert.Equal(expected, received.Data);
            await Eventually.True(() => !positions.IsEmpty);
            Assert.True(positions.TryDequeue(out var position));
            Assert.Equal(position.ToString(), received.Id);
        }
    }

    [Fact]
    public async Task PrivateMessagesAndRequests_AfterClusterLoss_ReachOtherNode()
    {
        await using var one = await StartAsync();
        await using var two = await StartAsync();
        _cluster.Forget();
        foreach (var app in (BroadcastApp[])[one, two]) await app.Services.GetRequiredKeyedService<BroadcastInstance>("").Cluster!.InboxOpening;

        await using var ann = await RawClient.OpenAsync(two);
        var id = two.Registry.Connections.Single().Id;
        await one.Broadcaster.PublishAsync("private", Recipients.Connection(id), cancellationToken: Token);
        Assert.Equal("private", (await ann.ReadFrameAsync()).Text);
        Assert.True(await one.Broadcaster.JoinAsync(id, "g", Token));
    }

    [Fact]
    public async Task Registry_LeaveThrows_RemovesMemberOnOtherNode()
    {
        var registry = new FaultyRegistry { OnLeave = static (_, _) => throw new InvalidOperationException("boom") };
        await using var one = await StartAsync(registry: registry);
        await using var two = await StartAsync();
        await using var ann = await RawClient.OpenAsync(one);
        var id = one.Registry.Connections.Single().Id;
        var presence = two.Services.GetRequiredService<IPresence>();
        await one.Broadcaster.JoinAsync(id, "/b", Token);
        await MembersAreAsync(id);

        var leaving = async () => await one.Broadcaster.LeaveAsync(id, "/b", Token);
        await Assert.ThrowsAsync<InvalidOperationException>(leaving);

        await MembersAreAsync();

        async Task MembersAreAsync(params string[] expected)
        {
            string[] members = [];
            for (var i = 0; i < 600; i++)
            {
                members = [.. (await presence.GetMembersAsync("/b", Token)).Select(static member => member.ConnectionId)];
                if (members.SequenceEqual(expected)) return;
                await Task.Delay(50, Token);
            }

            Assert.Equal(expected, members);
        }
    }

    [Fact]
    public async Task InMemoryCluster_AllClientsAndAppsEnded_IsEmpty()
    {
        var one = await StartAsync(history: 0);
        await using (var two = await StartAsync(history: 0))
        {
            await using (await RawClient.OpenAsync(one))
            await using (var ann = await RawClient.OpenAsync(two))
            {
                await one.Broadcaster.JoinAsync(two.Registry.Connections.Single().Id, "g", Token);
                await one.Broadcaster.PublishAsync("1", Recipients.Groups("g", "/ws"), cancellationToken: Token);
                Assert.Equal("1", (await ann.ReadFrameAsync()).Text);
            }

            // The cluster still contains the inboxes of the two nodes.
            await Eventually.True(() => _cluster.Count == 2);
        }

        await one.DisposeAsync();
        Assert.Equal(0, _cluster.Count);
    }

    Task<BroadcastApp> StartAsync(Action<WebApplication>? map = null, int history = 100, IConnectionRegistry? registry = null) => BroadcastApp.StartAsync(
        builder =>
        {
            TestUsers.Add(builder);
            builder.Services.AddBroadcast().AddInMemoryCluster(_cluster);
            builder.Services.AddSingleton<IGroupAuthorizer>(Rules.AllowAll);
            if (registry is not null) builder.Services.AddSingleton(registry);
        },
        map,
        options => options.Groups["/ws"] = new() { HistoryMessages = history });
}
