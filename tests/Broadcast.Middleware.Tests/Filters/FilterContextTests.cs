using System.Net.WebSockets;
using Microsoft.AspNetCore.Http;
using NSubstitute;

namespace Broadcast.Middleware.Tests.Filters;

/// <summary>Tests contexts that an app constructs to test its own filters.</summary>
public sealed class FilterContextTests
{
    readonly IBroadcastConnection _connection = Substitute.For<IBroadcastConnection>();
    readonly IBroadcaster _broadcaster = Substitute.For<IBroadcaster>();
    readonly IServiceProvider _services = Substitute.For<IServiceProvider>();

    public FilterContextTests()
    {
        _connection.Id.Returns("c1");
        _connection.HomeGroup.Returns("/ws");
    }

    static CancellationToken Token => TestContext.Current.CancellationToken;

    public static TheoryData<Type> Contexts => [typeof(ConnectContext), typeof(MessageContext), typeof(DisconnectContext)];

    [Theory]
    [MemberData(nameof(Contexts))]
    public async Task JoinAndLeave_OfConstructedContext_CallBroadcaster(Type type)
    {
        var context = Create(type);
        _broadcaster.JoinAsync("c1", "vip", Token).Returns(true);
        var joined = new JoinResult(true, null, new Position(1, 2));
        _broadcaster.JoinAsync("c1", "news", Replay.Last(3), Token).Returns(joined);
        _broadcaster.LeaveAsync("c1", "vip", Token).Returns(true);
        Assert.True(await context.JoinAsync("vip", Token));
        Assert.False(await context.JoinAsync("other", Token));
        Assert.Equal(joined, await context.JoinAsync("news", Replay.Last(3), Token));
        Assert.True(await context.LeaveAsync("vip", Token));
        Assert.False(await context.LeaveAsync("other", Token));
    }

    [Theory]
    [MemberData(nameof(Contexts))]
    public async Task ReplyAndClose_OfConstructedContext_CallBroadcaster(Type type)
    {
        var context = Create(type);
        var result = new PublishResult(null, 1);
        _broadcaster.PublishAsync(Arg.Any<Message>(), Recipients.Connection("c1"), Arg.Any<CancellationToken>()).Returns(result);
        Assert.Equal(result, await context.ReplyAsync("hello", Token));
        Assert.Equal(result, await context.ReplyAsync(new Message(new byte[] { 7 }, MessageType.Binary), Token));
        var sent = _broadcaster.ReceivedCalls().Select(call => (Message)call.GetArguments()[0]!).ToArray();
        Assert.Equal([(MessageType.Text, "hello"), (MessageType.Binary, "\a")], sent.Select(message => (message.Type, message.ToString())));

        context.Close((WebSocketCloseStatus)4001, "enough");
        await _broadcaster.Received(1).CloseAsync("c1", (WebSocketCloseStatus)4001, "enough", Arg.Any<CancellationToken>());
        Assert.Throws<ArgumentException>(() => context.Close((WebSocketCloseStatus)1006));
    }

    [Theory]
    [MemberData(nameof(Contexts))]
    public void Properties_OfConstructedContext_ReturnArguments(Type type)
    {
        var context = Create(type, _services);
        Assert.Same(_connection, context.Connection);
        Assert.Same(_broadcaster, context.Broadcaster);
        Assert.Same(_services, context.Services);
    }

    [Fact]
    public void Services_ContextWithoutServices_ThrowsAndNamesConstructor()
    {
        foreach (var context in (FilterContext[])[Create(typeof(MessageContext)), Create(typeof(DisconnectContext))])
            Assert.Contains("constructor", Assert.Throws<InvalidOperationException>(() => context.Services).Message, StringComparison.Ordinal);
        var request = new DefaultHttpContext { RequestServices = _services };
        Assert.Same(_services, new ConnectContext(_connection, _broadcaster, request).Services);
    }

    [Fact]
    public void Constructor_NullArgument_Throws()
    {
        Assert.Throws<ArgumentNullException>("connection", () => new MessageContext(null!, _broadcaster, default));
        Assert.Throws<ArgumentNullException>("broadcaster", () => new DisconnectContext(_connection, null!));
        Assert.Throws<ArgumentNullException>("httpContext", () => new ConnectContext(_connection, _broadcaster, null!));
    }

    [Fact]
    public void ConnectContext_Constructed_HasRequestAndReplay()
    {
        var request = new DefaultHttpContext();
        var context = new ConnectContext(_connection, _broadcaster, request) { Replay = Replay.Last(1) };
        Assert.Same(request, context.HttpContext);
        Assert.Equal(Replay.Last(1), context.Replay);
    }

    [Fact]
    public void DisconnectContext_Constructed_HasStatusAndException()
    {
        var exception = new IOException("lost");
        var context = new DisconnectContext(_connection, _broadcaster, WebSocketCloseStatus.NormalClosure, exception);
        Assert.Equal((WebSocketCloseStatus.NormalClosure, exception), (context.Status, context.Exception));
        Assert.Null(new DisconnectContext(_connection, _broadcaster).Status);
    }

    [Fact]
    public async Task ReceiveAsync_ConstructedContext_ReturnsMessagesAndThenNull()
    {
        var context = new ConnectContext(
            _connection, _broadcaster, new DefaultHttpContext(), messages: [Message.FromText("1"), Message.FromText("2")]);
        Assert.Equal("1", (await context.ReceiveAsync()).ToString());
        Assert.Equal("2", (await context.ReceiveAsync()).ToString());
        Assert.Null(await context.ReceiveAsync());
        Assert.Null(await new ConnectContext(_connection, _broadcaster, new DefaultHttpContext()).ReceiveAsync());
    }

    [Fact]
    public async Task MessageContext_Constructed_HasEventAndResultOfNext()
    {
        var context = new MessageContext(_connection, _broadcaster, Message.FromText("x"), eventName: "typing");
        Assert.Equal("typing", context.Event);
        var results = new List<PublishResult>();
        FilterDelegate<MessageContext> next = passed =>
        {
            passed.Result = new(null, 7);
            return Task.CompletedTask;
        };

        await next(context);
        results.Add(context.Result);
        Assert.Equal([new(null, 7)], results);
    }

    /// <summary>Tests a filter in the same way as a unit test of an app.</summary>
    [Fact]
    public async Task MessageFilter_ConstructedContext_RunsWithoutApp()
    {
        IBroadcastFilter filter = new ShoutFilter();
        var context = new MessageContext(_connection, _broadcaster, Message.FromText("hello"));
        Assert.Equal(Recipients.Group("/ws"), context.Recipients);
        MessageContext? published = null;
        await filter.OnMessageAsync(context, passed =>
        {
            published = passed;
            return Task.CompletedTask;
        });
        Assert.Same(context, published);
        Assert.Equal(("HELLO", null), (context.Text, context.Event));
        Assert.Equal(Recipients.Group("/ws").Except("c1"), context.Recipients);
        await _broadcaster.Received(1).JoinAsync("c1", "shouters", Arg.Any<CancellationToken>());
    }

    FilterContext Create(Type type, IServiceProvider? services = null) => type.Name switch
    {
        nameof(ConnectContext) => new ConnectContext(_connection, _broadcaster, new DefaultHttpContext(), services),
        nameof(MessageContext) => new MessageContext(_connection, _broadcaster, Message.FromText("x"), services),
        _ => new DisconnectContext(_connection, _broadcaster, services: services),
    };

    sealed class ShoutFilter : IBroadcastFilter
    {
        public async Task OnMessageAsync(MessageContext context, FilterDelegate<MessageContext> next)
        {
            await context.JoinAsync("shouters");
            context.Text = context.Text.ToUpperInvariant();
            context.ExcludeSender();
            await next(context);
        }
    }
}
