using Broadcast.Middleware.Tests.Protocols;
using Broadcast.Middleware.Tests.Wire;
using Microsoft.AspNetCore.Builder;
using Microsoft.Extensions.DependencyInjection;

namespace Broadcast.Middleware.Tests.Backplane;

/// <summary>Who needs the other nodes while they cannot be reached is told, and nobody else.</summary>
public sealed class BackplaneFailureTests : IAsyncLifetime
{
    readonly FlakyBackplane _backplane = new(new InMemoryCluster().CreateNode());
    BroadcastApp _app = null!;

    static CancellationToken Token => TestContext.Current.CancellationToken;

    public async ValueTask InitializeAsync() => _app = await BroadcastApp.StartAsync(
        builder =>
        {
            builder.Services.AddBroadcast().AddBackplane(_ => _backplane);
            builder.Services.AddSingleton<IGroupAuthorizer>(Rules.AllowAll);
        },
        app =>
        {
            app.MapBroadcast("/ws");
            app.MapBroadcast("/other");
        });

    public ValueTask DisposeAsync() => _app.DisposeAsync();

    [Fact]
    public async Task A_raw_client_whose_message_cannot_be_published_is_closed_with_1013()
    {
        await using var ann = await RawClient.OpenAsync(_app);
        await using var bob = await RawClient.OpenAsync(_app, "/other");
        _backplane.AwayFor = "/ws";
        await ann.SendAsync(ClientFrame.OfText("lost"));
        await bob.SendAsync(ClientFrame.OfText("to others"));

        AssertUnreachable(await ann.ReadCloseAsync());
        Assert.Equal("to others", (await bob.ReadFrameAsync()).Text);
        await Assert.ThrowsAsync<BackplaneException>(() => _app.Broadcaster.PublishAsync("lost", Recipients.Group("/ws"), Token).AsTask());
        await _app.Broadcaster.PublishAsync("to all", cancellationToken: Token);
        Assert.Equal("to all", (await bob.ReadFrameAsync()).Text);
    }

    [Theory]
    [InlineData("/ws")]
    [InlineData("")]
    public async Task Who_connects_is_closed_with_1013_and_can_come_back(string group)
    {
        _backplane.AwayFor = group;
        await using (var ann = await RawClient.ConnectAsync(_app))
        {
            Assert.Equal(101, (await ann.HandshakeAsync()).Status);
            AssertUnreachable(await ann.ReadCloseAsync());
            await ann.SendAsync(ClientFrame.OfClose(1013));
            await ann.ReadEndAsync();
        }

        await using (var structured = await RawClient.ConnectAsync(_app))
        {
            await structured.HandshakeAsync("/ws", JsonClient.Offers());
            // It is in its own group by then.
            if (group.Length == 0) await JsonClient.IdAsync(structured);
            await JsonClient.EndsAsync(structured, 1013);
        }

        await Eventually.True(() => _app.Registry.Count == 0);
        _backplane.AwayFor = null;
        await using var bob = await RawClient.OpenAsync(_app);
        await bob.SendAsync(ClientFrame.OfText("back"));
        Assert.Equal("back", (await bob.ReadFrameAsync()).Text);
    }

    [Fact]
    public async Task A_join_from_the_app_fails_and_harms_nobody()
    {
        await using var ann = await RawClient.OpenAsync(_app);
        var id = _app.Registry.Connections.Single().Id;
        _backplane.AwayFor = "g";
        await Assert.ThrowsAsync<BackplaneException>(() => _app.Broadcaster.JoinAsync(id, "g", Token).AsTask());
        Assert.Equal(0, _app.Registry.CountInGroup("g"));

        _backplane.AwayFor = null;
        Assert.True(await _app.Broadcaster.JoinAsync(id, "g", Token));
        await _app.Broadcaster.PublishAsync("joined", Recipients.Group("g"), Token);
        Assert.Equal("joined", (await ann.ReadFrameAsync()).Text);
    }

    /// <summary>As it would be on the node where it was asked.</summary>
    [Fact]
    public async Task A_join_on_another_node_that_fails_says_so_in_the_same_way()
    {
        var cluster = new InMemoryCluster();
        var away = new FlakyBackplane(cluster.CreateNode());
        await using var one = await BroadcastApp.StartAsync(builder => builder.Services.AddBroadcast().AddInMemoryCluster(cluster));
        await using var two = await BroadcastApp.StartAsync(builder => builder.Services.AddBroadcast().AddBackplane(_ => away));
        await using var ann = await RawClient.OpenAsync(two);
        away.AwayFor = "g";
        var error = await Assert.ThrowsAsync<BackplaneException>(() => one.Broadcaster.JoinAsync(two.Registry.Connections.Single().Id, "g", Token).AsTask());
        Assert.Equal("Away.", error.Message);
    }

    [Theory]
    [InlineData("")]
    [InlineData("other")]
    public void A_backplane_that_is_null_is_an_error(string name)
    {
        using var services = new ServiceCollection().AddLogging().AddBroadcast(name).AddBackplane(_ => null!).Services.BuildServiceProvider();
        var error = Assert.Throws<InvalidOperationException>(() => services.GetRequiredKeyedService<Broadcaster>(name));
        Assert.Contains("AddBackplane", error.Message, StringComparison.Ordinal);
    }

    [Fact]
    public async Task A_client_that_goes_while_it_waits_for_the_cluster_is_noticed()
    {
        var backplane = new HandBackplane { AnswersLater = true };
        await using var app = await BroadcastApp.StartAsync(builder => builder.Services.AddBroadcast().AddBackplane(_ => backplane));
        PendingSubscription pending;
        await using (var ann = await RawClient.ConnectAsync(app))
        {
            Assert.Equal(101, (await ann.HandshakeAsync()).Status);
            pending = await backplane.AskedAsync();
            Assert.Equal(1, app.Registry.Count);
        }

        await Eventually.True(() => app.Registry.Count == 0);
        pending.Arrive();
        await Eventually.True(() => backplane.Subscribed.Length == 0);
    }

    [Fact]
    public async Task A_structured_client_that_asks_for_an_answer_is_told_and_stays()
    {
        await using var ann = await JsonClient.OpenAsync(_app);
        _backplane.AwayFor = "g";
        await JsonClient.SayAsync(ann, """{"type":"joinGroup","group":"g","ackId":1}""");
        await JsonClient.FailsAsync(ann, 1, "InternalServerError");
        await JsonClient.SayAsync(ann, """{"type":"sendToGroup","group":"g","ackId":2,"data":1}""");
        await JsonClient.FailsAsync(ann, 2, "InternalServerError");
        await JsonClient.HearsNothingElseAsync(ann);

        // The same requests, under the same ids: they have not taken effect.
        _backplane.AwayFor = null;
        await JsonClient.SayAsync(ann, """{"type":"joinGroup","group":"g","ackId":1}""");
        await JsonClient.SucceedsAsync(ann, 1);
        await JsonClient.SayAsync(ann, """{"type":"sendToGroup","group":"g","ackId":2,"data":1}""");
        await HearsInAnyOrderAsync(ann, JsonClient.Success(2), JsonClient.FromGroup("g", "json", "1"));
        await JsonClient.HearsNothingElseAsync(ann);
    }

    [Fact]
    public async Task A_structured_client_that_asks_for_none_is_closed_with_1013()
    {
        await using var ann = await JsonClient.OpenAsync(_app);
        await using var bob = await JsonClient.OpenAsync(_app);
        _backplane.AwayFor = "g";
        await JsonClient.SayAsync(ann, """{"type":"sendToGroup","group":"g","data":1}""");
        await JsonClient.EndsAsync(ann, 1013);
        await JsonClient.HearsNothingElseAsync(bob);
    }

    static async Task HearsInAnyOrderAsync(RawClient client, params string[] messages)
    {
        var heard = new List<string>();
        foreach (var _ in messages) heard.Add(await JsonClient.ReadAsync(client));
        Assert.Equal(messages.Order(StringComparer.Ordinal), heard.Order(StringComparer.Ordinal));
    }

    static void AssertUnreachable(ServerFrame close) => Assert.Equal((1013, Connection.ClusterUnreachable), (close.CloseCode, close.CloseReason));
}
