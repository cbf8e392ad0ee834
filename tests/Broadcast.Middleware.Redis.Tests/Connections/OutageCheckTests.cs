using Broadcast.Middleware.Redis.Tests.Infrastructure;
using Microsoft.Extensions.DependencyInjection;
using Microsoft.Extensions.Time.Testing;

namespace Broadcast.Middleware.Redis.Tests.Connections;

public sealed class OutageCheckTests : RedisTest
{
    protected override bool StartsRedis => false;

    [Theory]
    [InlineData(WhenUnreachable.Local)]
    [InlineData(WhenUnreachable.Fail)]
    public async Task PublishAndMemberCount_BeforeFirstConnect_WaitForTheConnect(WhenUnreachable whenUnreachable)
    {
        await Redis.StartAsync();
        // With this time provider, no timeout of the node expires.
        var (first, second) = (StartNode(), StartNode());
        Assert.Equal(1, (await first.PublishAsync(Group, "1").WaitAsync(TestNode.Patience, Token)).Offset);
        Assert.Equal(0, await second.Backplane.CountMembersAsync(Group, Token).AsTask().WaitAsync(TestNode.Patience, Token));

        TestNode StartNode() => new(Nodes.Create(builder =>
        {
            builder.Services.AddSingleton<TimeProvider>(new FakeTimeProvider());
            builder.AddRedis(
                Redis.Configuration,
                options => (options.Prefix, options.WhenUnreachable) = ("test", whenUnreachable));
        }));
    }

    [Fact]
    public async Task Publish_FirstConnectFails_ThrowsWithDeliverLocally()
    {
        var node = StartNode(configure: static options =>
            (options.WhenUnreachable, options.PublishTimeout) = (WhenUnreachable.Local, TimeSpan.FromHours(1)));
        var error = await Assert.ThrowsAsync<BackplaneException>(
            () => node.PublishAsync(Group, "1").WaitAsync(TestNode.Patience, Token));
        Assert.True(error.DeliverLocally);
    }

    [Fact]
    public async Task Publish_MasterIsDownAndReplicaIsConnected_ThrowsWithDeliverLocally()
    {
        await Redis.StartAsync();
        await using var replica = await RedisServer.StartReplicaAsync(Redis);
        var node = StartNode(
            $"{Redis.Configuration},{replica.Configuration}",
            static options => (options.WhenUnreachable, options.PublishTimeout) =
                (WhenUnreachable.Local, TimeSpan.FromHours(1)));
        Assert.Equal(1, (await node.PublishUntilAcceptedAsync(Group, "1")).Offset);
        await Redis.KillAsync();
        await TestNode.EventuallyAsync(() => new(!node.Backplane.IsReachable), "The node notices the outage.");
        var publish = node.PublishAsync(Group, "2");
        var error = await Assert.ThrowsAsync<BackplaneException>(() => publish.WaitAsync(TestNode.Patience, Token));
        Assert.True(error.DeliverLocally);
    }
}
