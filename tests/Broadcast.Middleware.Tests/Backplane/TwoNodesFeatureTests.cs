using Broadcast.Middleware.Tests.Events;
using Broadcast.Middleware.Tests.Limits;
using Broadcast.Middleware.Tests.Protocols;
using Broadcast.Middleware.Tests.Wire;
using Microsoft.AspNetCore.Builder;
using Microsoft.Extensions.DependencyInjection;

namespace Broadcast.Middleware.Tests.Backplane;

/// <summary>What one node can do, two can.</summary>
public sealed class TwoNodesFeatureTests
{
    readonly InMemoryCluster _cluster = new();

    static CancellationToken Token => TestContext.Current.CancellationToken;

    [Fact]
    public async Task Structured_clients_of_two_nodes_talk_in_every_type()
    {
        await using var one = await StartAsync();
        await using var two = await StartAsync();
        await using var ann = await JsonClient.OpenAsync(one, headers: TestUsers.As("ann"));
        await using var bob = await JsonClient.OpenAsync(two);
        foreach (var client in (RawClient[])[ann, bob])
        {
            await JsonClient.SayAsync(client, """{"type":"joinGroup","group":"g","ackId":1}""");
            await JsonClient.SucceedsAsync(client, 1);
        }

        await JsonClient.SayAsync(
            ann,
            """{"type":"sendToGroup","group":"g","noEcho":true,"dataType":"text","data":"hi"}""",
            """{"type":"sendToGroup","group":"g","noEcho":true,"dataType":"json","data":{"a": [1.50]}}""",
            """{"type":"sendToGroup","group":"g","noEcho":true,"dataType":"binary","data":"AQID"}""");
        await JsonClient.HearsAsync(
            bob,
            JsonClient.FromGroup("g", "text", "\"hi\"", "ann"),
            JsonClient.FromGroup("g", "json", """{"a": [1.50]}""", "ann"),
            JsonClient.FromGroup("g", "binary", "\"AQID\"", "ann"));
        await JsonClient.HearsNothingElseAsync(ann);

        await two.Broadcaster.PublishAsync(Message.FromJson(7, JsonContext.Default.Int32), Recipients.User("ann"), Token);
        await JsonClient.HearsAsync(ann, JsonClient.FromServer("json", "7"));
    }

    [Fact]
    public async Task A_raw_client_gets_bytes_as_bytes_and_text_as_text_from_the_other_node()
    {
        await using var one = await StartAsync();
        await using var two = await StartAsync();
        await using var ann = await RawClient.OpenAsync(one);
        byte[] bytes = [0, 255, 128, 1];
        await two.Broadcaster.PublishAsync(new Message(bytes, MessageType.Binary), Recipients.Group("/ws"), Token);
        await two.Broadcaster.PublishAsync("äöü", Recipients.Group("/ws"), Token);
        var (first, second) = (await ann.ReadFrameAsync(), await ann.ReadFrameAsync());
        Assert.Equal((ClientFrame.Binary, ClientFrame.Text, "äöü"), (first.Opcode, second.Opcode, second.Text));
        Assert.Equal(bytes, first.Payload);
    }

    [Fact]
    public async Task An_event_stream_goes_on_at_the_other_node_where_it_was_cut()
    {
        await using var one = await StartAsync();
        await using var two = await StartAsync();
        string last;
        await using (var ann = await EventClient.OpenAsync(one))
        {
            for (var i = 1; i <= 3; i++) await two.Broadcaster.PublishAsync($"{i}", Recipients.Group("/ws"), Token);
            Assert.Equal(["1", "2"], await ann.HearAsync(2));
            last = ann.LastEventId;
        }

        await one.Broadcaster.PublishAsync("4", Recipients.Group("/ws"), Token);
        await using var again = await EventClient.OpenAsync(two, after: last);
        await one.Broadcaster.PublishAsync("5", Recipients.Group("/ws"), Token);
        Assert.Equal(["3", "4", "5"], await again.HearAsync(3));
    }

    [Fact]
    public async Task A_filter_learns_the_position_that_every_node_knows()
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
        await ann.SendAsync(ClientFrame.OfText("1"), ClientFrame.OfText("2"));

        foreach (var expected in (string[])["1", "2"])
        {
            var heard = await bob.NextAsync();
            Assert.Equal(expected, heard.Data);
            await Eventually.True(() => !positions.IsEmpty);
            Assert.True(positions.TryDequeue(out var position));
            Assert.Equal(position.ToString(), heard.Id);
        }
    }

    [Fact]
    public async Task After_a_loss_private_messages_and_requests_reach_the_other_node_again()
    {
        await using var one = await StartAsync();
        await using var two = await StartAsync();
        _cluster.Forget();
        foreach (var app in (BroadcastApp[])[one, two]) await ((Broadcaster)app.Broadcaster).Cluster!.Opening;

        await using var ann = await RawClient.OpenAsync(two);
        var id = two.Registry.Connections.Single().Id;
        await one.Broadcaster.PublishAsync("private", Recipients.Connection(id), Token);
        Assert.Equal("private", (await ann.ReadFrameAsync()).Text);
        Assert.True(await one.Broadcaster.JoinAsync(id, "g", Token));
    }

    [Fact]
    public async Task When_the_clients_and_then_the_apps_have_gone_the_cluster_knows_nothing()
    {
        var one = await StartAsync(history: 0);
        await using (var two = await StartAsync(history: 0))
        {
            await using (await RawClient.OpenAsync(one))
            await using (var ann = await RawClient.OpenAsync(two))
            {
                await one.Broadcaster.JoinAsync(two.Registry.Connections.Single().Id, "g", Token);
                await one.Broadcaster.PublishAsync("1", Recipients.Groups("g", "/ws"), Token);
                Assert.Equal("1", (await ann.ReadFrameAsync()).Text);
            }

            // The two inboxes.
            await Eventually.True(() => _cluster.Count == 2);
        }

        await one.DisposeAsync();
        Assert.Equal(0, _cluster.Count);
    }

    Task<BroadcastApp> StartAsync(Action<WebApplication>? map = null, int history = 100) => BroadcastApp.StartAsync(
        builder =>
        {
            TestUsers.Add(builder);
            builder.Services.AddBroadcast().AddInMemoryCluster(_cluster);
            builder.Services.AddSingleton<IGroupAuthorizer>(Rules.AllowAll);
        },
        map,
        options => options.Groups["/ws"] = new() { HistoryMessages = history });
}
