using System.Net.WebSockets;
using System.Text;
using Microsoft.AspNetCore.Builder;
using Microsoft.AspNetCore.Http;
using Microsoft.AspNetCore.TestHost;
using Microsoft.Extensions.DependencyInjection;
using NSubstitute;

namespace Broadcast.Middleware.Tests.Documentation;

/// <summary>Contains the code of docs/guides/testing.md. The tests of that page run here.</summary>
public sealed class TestingGuide
{
    [Fact]
    public async Task Filter_SecretWord_IsReplaced()
    {
        var connection = Substitute.For<IBroadcastConnection>();
        connection.HomeGroup.Returns("/chat");
        var context = new MessageContext(connection, Substitute.For<IBroadcaster>(), Message.FromText("the secret"));
        var published = "";

        await new CensorFilter().OnMessageAsync(context, next =>
        {
            published = next.Text;
            return Task.CompletedTask;
        });

        Assert.Equal("the ***", published);
    }

    [Fact]
    public async Task ConnectFilter_NoTicket_DoesNotJoin()
    {
        var request = new DefaultHttpContext();
        var context = new ConnectContext(Substitute.For<IBroadcastConnection>(), Substitute.For<IBroadcaster>(), request);
        var joined = false;

        await new TicketFilter().OnConnectAsync(context, _ =>
        {
            joined = true;
            return Task.CompletedTask;
        });

        Assert.False(joined);
    }

    [Fact]
    public async Task Ship_Order_PublishesToCustomer()
    {
        var broadcaster = Substitute.For<IBroadcaster>();

        await new Shipping(broadcaster).ShipAsync("ann", "order 7");

        await broadcaster.Received(1).PublishAsync(
            Arg.Is<Message>(message => message.ToString() == "shipped: order 7"), Recipients.User("ann"), Arg.Any<CancellationToken>());
    }

    [Fact]
    public async Task Chat_TwoClients_ReceiveEachOthersMessages()
    {
        var builder = WebApplication.CreateSlimBuilder();
        builder.WebHost.UseTestServer();
        builder.Services.AddBroadcast();
        await using var app = builder.Build();
        app.MapBroadcast("/chat").Use<CensorFilter>();
        await app.StartAsync(TestContext.Current.CancellationToken);

        var client = app.GetTestServer().CreateWebSocketClient();
        using var ann = await client.ConnectAsync(new Uri("ws://localhost/chat"), TestContext.Current.CancellationToken);
        using var bob = await client.ConnectAsync(new Uri("ws://localhost/chat"), TestContext.Current.CancellationToken);
        await WaitForMembersAsync(app, "/chat", 2);
        await ann.SendAsync(Encoding.UTF8.GetBytes("the secret"), WebSocketMessageType.Text, true, TestContext.Current.CancellationToken);

        Assert.Equal("the ***", await ReceiveAsync(bob));
    }

    static async Task WaitForMembersAsync(WebApplication app, string group, int count)
    {
        var connections = app.Services.GetRequiredService<IConnectionRegistry>();
        while (connections.CountGroupMembers(group) < count) await Task.Delay(10, TestContext.Current.CancellationToken);
    }

    static async Task<string> ReceiveAsync(WebSocket socket)
    {
        var buffer = new byte[4096];
        var result = await socket.ReceiveAsync(buffer, TestContext.Current.CancellationToken);
        return Encoding.UTF8.GetString(buffer, 0, result.Count);
    }

    [Fact]
    public async Task Publish_OnOneNode_ReachesClientOfOtherNode()
    {
        var cluster = new InMemoryCluster();
        await using var first = await StartNodeAsync(cluster);
        await using var second = await StartNodeAsync(cluster);
        using var client = await second.GetTestServer().CreateWebSocketClient()
            .ConnectAsync(new Uri("ws://localhost/chat"), TestContext.Current.CancellationToken);
        await WaitForMembersAsync(second, "/chat", 1);

        await first.Services.GetRequiredService<IBroadcaster>().PublishAsync(
            "hello", Recipients.Group("/chat"), cancellationToken: TestContext.Current.CancellationToken);

        Assert.Equal("hello", await ReceiveAsync(client));
    }

    static async Task<WebApplication> StartNodeAsync(InMemoryCluster cluster)
    {
        var builder = WebApplication.CreateSlimBuilder();
        builder.WebHost.UseTestServer();
        builder.Services.AddBroadcast().AddInMemoryCluster(cluster);
        var app = builder.Build();
        app.MapBroadcast("/chat");
        await app.StartAsync(TestContext.Current.CancellationToken);
        return app;
    }
}

sealed class CensorFilter : IBroadcastFilter
{
    public Task OnMessageAsync(MessageContext context, FilterDelegate<MessageContext> next)
    {
        context.Text = context.Text.Replace("secret", "***");
        return next(context);
    }
}

sealed class TicketFilter : IBroadcastFilter
{
    public Task OnConnectAsync(ConnectContext context, FilterDelegate<ConnectContext> next) =>
        context.HttpContext.Request.Query["ticket"] == "42" ? next(context) : Task.CompletedTask;
}

sealed class Shipping(IBroadcaster broadcaster)
{
    public async Task ShipAsync(string customer, string order) =>
        await broadcaster.PublishAsync($"shipped: {order}", Recipients.User(customer));
}
