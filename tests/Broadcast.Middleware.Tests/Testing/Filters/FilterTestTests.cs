using System.Security.Claims;
using NSubstitute;

namespace Broadcast.Middleware.Tests.Testing.Filters;

/// <summary>Tests <see cref="TestConnection"/> and <see cref="FilterTest"/>.</summary>
public sealed class FilterTestTests
{
    static CancellationToken Token => TestContext.Current.CancellationToken;

    [Fact]
    public async Task FilterContext_TestConnection_SubstituteBroadcasterReceivesJoin()
    {
        var broadcaster = Substitute.For<IBroadcaster>();
        var context = new MessageContext(new TestConnection { Id = "c1" }, broadcaster, Message.FromText("x"));
        await context.JoinAsync("g", Token);
        await broadcaster.Received(1).JoinAsync("c1", "g", Token);
        Assert.Equal(Recipients.Group("/ws"), context.Recipients);
    }

    [Fact]
    public async Task FilterTest_FilterSetsUserFromFirstMessage_ConnectionHasUser()
    {
        var test = new FilterTest(new TokenFilter());
        Assert.False(await test.ConnectAsync(null, "wrong"));
        Assert.Null(test.Connection.UserId);
        Assert.True(await test.ConnectAsync(null, "ann"));
        Assert.Equal("ann", test.Connection.UserId);
        Assert.Equal(["/ws"], test.Connection.Groups);
    }

    [Fact]
    public async Task FilterTest_EventAndDisconnect_ReachFilter()
    {
        var test = new FilterTest(new TokenFilter());
        Assert.True(await test.SendEventAsync("typing", default));
        Assert.False(await test.SendEventAsync("other", default));
        Assert.False(await test.SendAsync("drop"));
        Assert.True(await test.SendAsync("keep"));
        Assert.Equal("keep", Assert.Single(test.Broadcaster.Publishes).Text);
        await test.DisconnectAsync(null, new IOException("lost"));
        test.Broadcaster.AssertPublished("lost: lost, 0 groups, True");
        Assert.Equal(0, test.Broadcaster.Connections.Count);
        var error = await Assert.ThrowsAsync<InvalidOperationException>(() => test.SendAsync("late"));
        Assert.Contains("Create a new FilterTest", error.Message, StringComparison.Ordinal);
    }

    [Fact]
    public async Task FilterTest_ConnectFilterSetsProperties_RecordsReplayAndFilter()
    {
        var filter = SubscriptionFilter.TagEquals("region", "eu");
        var test = new FilterTest(new ReplayFilter(filter));
        Assert.True(await test.ConnectAsync());
        await test.SendAsync("x");
        var join = Assert.Single(test.Broadcaster.Memberships);
        Assert.Equal((test.Connection.Id, "/ws", true), (join.ConnectionId, join.Group, join.IsJoin));
        Assert.Equal((Replay.Last(3), filter), (join.Replay, join.Filter));
    }

    [Fact]
    public async Task FilterTest_Disconnect_RemovesMemberships()
    {
        var test = new FilterTest(new ReplayFilter(null));
        Assert.True(await test.ConnectAsync());
        await test.DisconnectAsync();
        Assert.Equal(["left: False"], test.Broadcaster.Publishes.Select(static publish => publish.Text));
    }

    sealed class ReplayFilter(SubscriptionFilter? filter) : IBroadcastFilter
    {
        public Task OnConnectAsync(ConnectContext context, FilterDelegate<ConnectContext> next)
        {
            (context.Replay, context.Filter) = (Replay.Last(3), filter);
            return next(context);
        }

        public async Task OnDisconnectAsync(DisconnectContext context, FilterDelegate<DisconnectContext> next)
        {
            var left = await context.Broadcaster.LeaveAsync(context.Connection.Id, "/ws");
            await context.Broadcaster.PublishAsync($"left: {left}");
            await next(context);
        }
    }

    sealed class TokenFilter : IBroadcastFilter
    {
        public async Task OnConnectAsync(ConnectContext context, FilterDelegate<ConnectContext> next)
        {
            if ((await context.ReceiveAsync())?.ToString() is not "ann" and not null) return;
            Assert.True(context.TrySetUser(new ClaimsPrincipal(new ClaimsIdentity([new("sub", "ann")], "Test"))));
            Assert.Equal("ann", context.Connection.UserId);
            await next(context);
        }

        public Task OnMessageAsync(MessageContext context, FilterDelegate<MessageContext> next) =>
            context.Event == "typing" || context.Text == "drop" ? Task.CompletedTask : next(context);

        public async Task OnDisconnectAsync(DisconnectContext context, FilterDelegate<DisconnectContext> next)
        {
            var (groups, token) = (context.Connection.Groups.Count, context.Connection.ConnectionAborted);
            await context.Broadcaster.PublishAsync($"lost: {context.Exception?.Message}, {groups} groups, {token.IsCancellationRequested}");
            await next(context);
        }
    }
}
