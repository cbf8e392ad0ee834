using Microsoft.AspNetCore.Builder;
using Microsoft.Extensions.DependencyInjection;

namespace Broadcast.Middleware.Tests.Clustering;

/// <summary>Tests failures of the backplane. A failure must affect only the clients that need the backplane.</summary>
public sealed class BackplaneFailureTests : IAsyncLifetime
{
    readonly FaultyBackplane _backplane = new(new InMemoryCluster().CreateNode());
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
    public async Task RawClient_MessageCannotBePublished_IsClosedWithCode1013()
    {
        using var meters = new Meters(_app);
        await using var ann = await RawClient.OpenAsync(_app);
        await using var bob = await RawClient.OpenAsync(_app, "/other");
        _backplane.UnreachableGroup = "/ws";
        await ann.SendAsync(ClientFrame.CreateText("lost"));
        await bob.SendAsync(ClientFrame.CreateText("to others"));

        AssertUnreachable(await ann.ReadCloseAsync());
        Assert.Equal("to others", (await bob.ReadFrameAsync()).Text);
        await Assert.ThrowsAsync<BackplaneException>(() => _app.Broadcaster.PublishAsync("lost", Recipients.Group("/ws"), cancellationToken: Token).AsTask());
        await _app.Broadcaster.PublishAsync("to all", cancellationToken: Token);
        Assert.Equal("to all", (await bob.ReadFrameAsync()).Text);
        // A client can receive a message before the server counts the message as published.
        await Eventually.True(() => meters.Sum(Meters.Published) >= 2);
        Assert.Equal(2, meters.Sum(Meters.Published));
    }

    [Theory]
    [InlineData("/ws")]
    [InlineData("")]
    public async Task Client_ConnectsWhileClusterIsUnreachable_IsClosedWithCode1013(string group)
    {
        _backplane.UnreachableGroup = group;
        await using (var ann = await RawClient.ConnectAsync(_app))
        {
            Assert.Equal(101, (await ann.HandshakeAsync()).Status);
            AssertUnreachable(await ann.ReadCloseAsync());
            await ann.SendAsync(ClientFrame.CreateClose(1013));
            await ann.ReadEndAsync();
        }

        await using (var structured = await RawClient.ConnectAsync(_app))
        {
            await structured.HandshakeAsync("/ws", JsonClient.Offers());
            // The server sends the ID only after the client has joined its home group.
            if (group.Length == 0) await JsonClient.IdAsync(structured);
            await JsonClient.EndsAsync(structured, 1013);
        }

        await Eventually.True(() => _app.Registry.Count == 0);
        _backplane.UnreachableGroup = null;
        await using var bob = await RawClient.OpenAsync(_app);
        await bob.SendAsync(ClientFrame.CreateText("back"));
        Assert.Equal("back", (await bob.ReadFrameAsync()).Text);
    }

    [Fact]
    public async Task JoinAsync_ClusterIsUnreachable_ThrowsAndAddsNoMember()
    {
        await using var ann = await RawClient.OpenAsync(_app);
        var id = _app.Registry.Connections.Single().Id;
        _backplane.UnreachableGroup = "g";
        await Assert.ThrowsAsync<BackplaneException>(() => _app.Broadcaster.JoinAsync(id, "g", Token).AsTask());
        Assert.Equal(0, _app.Registry.CountGroupMembers("g"));

        _backplane.UnreachableGroup = null;
        Assert.True(await _app.Broadcaster.JoinAsync(id, "g", Token));
        await _app.Broadcaster.PublishAsync("joined", Recipients.Group("g"), cancellationToken: Token);
        Assert.Equal("joined", (await ann.ReadFrameAsync()).Text);
    }

    /// <summary>
    /// Tests a join on another node. The caller gets the same exception as for a join on its own node.
    /// </summary>
    [Fact]
    public async Task JoinOnOtherNode_BackplaneFails_ThrowsBackplaneException()
    {
        var cluster = new InMemoryCluster();
        var unreachable = new FaultyBackplane(cluster.CreateNode());
        await using var one = await BroadcastApp.StartAsync(builder => builder.Services.AddBroadcast().AddInMemoryCluster(cluster));
        await using var two = await BroadcastApp.StartAsync(builder => builder.Services.AddBroadcast().AddBackplane(_ => unreachable));
        await using var ann = await RawClient.OpenAsync(two);
        unreachable.UnreachableGroup = "g";
        var error = await Assert.ThrowsAsync<BackplaneException>(() => one.Broadcaster.JoinAsync(two.Registry.Connections.Single().Id, "g", Token).AsTask());
        Assert.Equal("The test has made the backplane unreachable.", error.Message);
    }

    [Theory]
    [InlineData("")]
    [InlineData("other")]
    public void AddBackplane_FactoryReturnsNull_Throws(string name)
    {
        using var services = new ServiceCollection().AddLogging().AddBroadcast(name).AddBackplane(_ => null!).Services.BuildServiceProvider();
        var error = Assert.Throws<InvalidOperationException>(() => services.GetRequiredKeyedService<BroadcastInstance>(name));
        Assert.Contains("AddBackplane", error.Message, StringComparison.Ordinal);
    }

    [Fact]
    public async Task Disconnect_WhileSubscriptionIsPending_RemovesConnection()
    {
        var backplane = new ManualBackplane { DefersSubscriptions = true };
        await using var app = await BroadcastApp.StartAsync(builder => builder.Services.AddBroadcast().AddBackplane(_ => backplane));
        PendingSubscription pending;
        await using (var ann = await RawClient.ConnectAsync(app))
        {
            Assert.Equal(101, (await ann.HandshakeAsync()).Status);
            pending = await backplane.NextSubscriptionAsync();
            Assert.Equal(1, app.Registry.Count);
        }

        await Eventually.True(() => app.Registry.Count == 0);
        pending.Complete();
        await Eventually.True(() => backplane.Subscribed.Length == 0);
    }

    [Fact]
    public async Task JsonRequestWithAckId_ClusterIsUnreachable_FailsAndKeepsConnectionOpen()
    {
        await using var ann = await JsonClient.OpenAsync(_app);
        _backplane.UnreachableGroup = "g";
        await JsonClient.SendTextAsync(ann, """{"type":"joinGroup","group":"g","ackId":1}""");
        await JsonClient.FailsAsync(ann, 1, "InternalServerError");
        await JsonClient.SendTextAsync(ann, """{"type":"sendToGroup","group":"g","ackId":2,"data":1}""");
        await JsonClient.FailsAsync(ann, 2, "InternalServerError");
        await JsonClient.ReceivesNothingElseAsync(ann);

        // The same requests with the same ack IDs now succeed, because the failed requests had no effect.
        _backplane.UnreachableGroup = null;
        await JsonClient.SendTextAsync(ann, """{"type":"joinGroup","group":"g","ackId":1}""");
        await JsonClient.SucceedsAsync(ann, 1);
        await JsonClient.SendTextAsync(ann, """{"type":"sendToGroup","group":"g","ackId":2,"data":1}""");
        await ReceivesInAnyOrderAsync(ann, JsonClient.Success(2), JsonClient.FromGroup("g", "json", "1"));
        await JsonClient.ReceivesNothingElseAsync(ann);
    }

    [Fact]
    public async Task JsonRequestWithoutAckId_ClusterIsUnreachable_ClosesConnectionWithCode1013()
    {
        await using var ann = await JsonClient.OpenAsync(_app);
        await using var bob = await JsonClient.OpenAsync(_app);
        _backplane.UnreachableGroup = "g";
        await JsonClient.SendTextAsync(ann, """{"type":"sendToGroup","group":"g","data":1}""");
        await JsonClient.EndsAsync(ann, 1013);
        await JsonClient.ReceivesNothingElseAsync(bob);
    }

    static async Task ReceivesInAnyOrderAsync(RawClient client, params string[] messages)
    {
        var received = new List<string>();
        foreach (var _ in messages) received.Add(await JsonClient.ReadAsync(client));
        Assert.Equal(messages.Order(StringComparer.Ordinal), received.Order(StringComparer.Ordinal));
    }

    static void AssertUnreachable(ServerFrame close) => Assert.Equal((1013, CloseReasons.ClusterUnreachable), (close.CloseCode, close.CloseReason));
}
