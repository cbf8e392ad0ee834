using Microsoft.AspNetCore.Builder;
using Microsoft.Extensions.DependencyInjection;

namespace Broadcast.Middleware.Tests.Clustering;

/// <summary>
/// Tests local delivery: the backplane asks the node to deliver messages only to the connections of this node.
/// </summary>
public sealed class LocalDeliveryTests : IAsyncLifetime
{
    readonly ManualBackplane _backplane = new();
    readonly BlockingFilter _filter = new(Stage.Connect, Blocking.Task);
    BroadcastApp _app = null!;

    static CancellationToken Token => TestContext.Current.CancellationToken;

    public async ValueTask InitializeAsync() => _app = await BroadcastApp.StartAsync(
        builder =>
        {
            builder.Services.AddBroadcast().AddBackplane(_ => _backplane);
            builder.Services.AddSingleton<IGroupAuthorizer>(Rules.AllowAll).AddSingleton(_filter);
            TestUsers.Add(builder);
        },
        app => app.MapBroadcast("/ws").Use<BlockingFilter>());

    public async ValueTask DisposeAsync()
    {
        _filter.Dispose();
        await _app.DisposeAsync();
    }

    [Fact]
    public async Task PublishToAll_ClientNotAdmitted_DoesNotReachClient()
    {
        await using var ann = await RawClient.OpenAsync(_app, TestUsers.As("ann"));
        await using var it = await RawClient.ConnectAsync(_app);
        Assert.Equal(101, (await it.HandshakeAsync("/ws", TestUsers.As("it"))).Status);
        await _filter.Entered;

        Fail(nameof(IBackplane.PublishAsync));
        var result = await _app.Broadcaster.PublishAsync("local", cancellationToken: Token);
        _backplane.Failures.Clear();
        _filter.Release();
        await Eventually.True(() => _app.Registry.Connections.Cast<Connection>().All(static connection => connection.WasOpened));
        await _app.PublishAsync("for all nodes");

        Assert.Equal(new PublishResult(null, 1) { RemoteNodes = 0, IsLocalOnly = true }, result);
        Assert.Equal("local", (await ann.ReadFrameAsync()).Text);
        foreach (var client in new[] { ann, it }) Assert.Equal("for all nodes", (await client.ReadFrameAsync()).Text);
    }

    [Fact]
    public async Task PublishToAll_EventStreamNotAdmitted_StartsNoResponse()
    {
        var asking = EventClient.AskAsync(_app, headers: [("Accept", "text/event-stream"), TestUsers.As("it")]);
        await _filter.Entered;

        Fail(nameof(IBackplane.PublishAsync));
        var result = await _app.Broadcaster.PublishAsync("local", cancellationToken: Token);
        _backplane.Failures.Clear();
        _filter.Release();
        await using var client = await asking;
        await Eventually.True(() => _app.Registry.Connections.Cast<Connection>().All(static connection => connection.WasOpened));
        await _app.PublishAsync("for all nodes");

        Assert.Equal(0, result.LocalRecipients);
        Assert.Equal("for all nodes", (await client.NextAsync()).Data);
    }

    [Fact]
    public async Task PublishToGroup_StructuredClient_NamesGroupAndSender()
    {
        await using var ann = await JsonClient.OpenAsync(_app, headers: [TestUsers.As("ann")]);
        await using var bob = await JsonClient.OpenAsync(_app, headers: [TestUsers.As("bob")]);
        await JsonClient.SendTextAsync(bob, """{"type":"joinGroup","group":"g","ackId":1}""");
        await JsonClient.SucceedsAsync(bob, 1);
        Fail(nameof(IBackplane.PublishAsync));

        await JsonClient.SendTextAsync(ann, """{"type":"sendToGroup","group":"g","ackId":1,"data":1}""");

        await JsonClient.SucceedsAsync(ann, 1);
        await JsonClient.ReceivesAsync(bob, JsonClient.FromGroup("g", "json", "1", "ann"));
    }

    [Fact]
    public async Task PublishToSeveralGroups_MemberOfTwo_ReceivesMessageOnce()
    {
        await using var ann = await JsonClient.OpenAsync(_app, headers: [TestUsers.As("ann")]);
        foreach (var group in (string[])["red", "blue"])
        {
            await JsonClient.SendTextAsync(ann, $$"""{"type":"joinGroup","group":"{{group}}","ackId":{{group.Length}}}""");
            await JsonClient.SucceedsAsync(ann, group.Length);
        }

        Fail(nameof(IBackplane.PublishAsync));

        var result = await _app.Broadcaster.PublishAsync("x", Recipients.Groups("red", "blue"), cancellationToken: Token);

        Assert.Equal(1, result.LocalRecipients);
        await JsonClient.ReceivesAsync(ann, JsonClient.FromServer("text", "\"x\""));
        await JsonClient.ReceivesNothingElseAsync(ann);
    }

    [Fact]
    public async Task PublishToUser_TwoOutages_LogsStartAndEndOfEachOutageOnce()
    {
        for (var outage = 1; outage <= 2; outage++)
        {
            Fail(nameof(IBackplane.GetMembersAsync));
            for (var i = 0; i < 3; i++) Assert.True((await PublishAsync()).IsLocalOnly);
            _backplane.Failures.Clear();
            for (var i = 0; i < 3; i++) Assert.False((await PublishAsync()).IsLocalOnly);

            Assert.Equal((outage, outage), (CountLogs("delivers messages only to its own connections"), CountLogs("this node delivered 3 messages only")));
        }

        ValueTask<PublishResult> PublishAsync() => _app.Broadcaster.PublishAsync("x", Recipients.User("ann"), cancellationToken: Token);
    }

    /// <summary>
    /// A message with an ID must reach each client once. So the node must not deliver the message locally before the
    /// app repeats the call.
    /// </summary>
    [Fact]
    public async Task Publish_MessageWithId_ThrowsAndRetryReachesClientOnce()
    {
        await using var ann = await RawClient.OpenAsync(_app, TestUsers.As("ann"));
        Recipients[] all = [Recipients.Group("/ws"), Recipients.Groups("/ws", "/b"), Recipients.User("ann")];
        foreach (var recipients in all)
        {
            foreach (var call in (string[])[nameof(IBackplane.PublishAsync), nameof(IBackplane.GetMembersAsync)]) Fail(call);
            await Assert.ThrowsAsync<BackplaneException>(async () => await PublishAsync(recipients));
            _backplane.Failures.Clear();
            await PublishAsync(recipients);
        }

        await _app.PublishAsync("end");
        foreach (var text in (string[])[.. all.Select(static recipients => $"{recipients}"), "end"]) Assert.Equal(text, (await ann.ReadFrameAsync()).Text);

        ValueTask<PublishResult> PublishAsync(Recipients recipients) =>
            _app.Broadcaster.PublishAsync(Message.FromText($"{recipients}") with { Id = $"{recipients}" }, recipients, Token);
    }

    /// <summary>
    /// One of the two nodes has already received the message. So the call must not report a local delivery.
    /// </summary>
    [Fact]
    public async Task PublishToConnection_OneOfTwoNodesReachable_ThrowsWithoutLocalDelivery()
    {
        foreach (var node in (string[])["a", "b"]) _backplane.SetMember("\u0001connection:x", node, default);
        Fail("PublishAsync \u0001node:b");

        var error = await Assert.ThrowsAsync<BackplaneException>(() => PublishAsync());

        Assert.False(error.DeliverLocally);
        Assert.Single(_backplane.MessagesOf("\u0001node:a"));
        Fail("PublishAsync \u0001node:a");
        Assert.True((await PublishAsync()).IsLocalOnly);

        Task<PublishResult> PublishAsync() => _app.Broadcaster.PublishAsync("x", Recipients.Connection("x"), cancellationToken: Token).AsTask();
    }

    int CountLogs(string text) => _app.Logs.GetSnapshot().Count(record => record.Message.Contains(text, StringComparison.Ordinal));

    void Fail(string call) => _backplane.Failures[call] = new BackplaneException("Unreachable.") { DeliverLocally = true };
}
