using Broadcast.Middleware.Redis.Tests.Infrastructure;
using StackExchange.Redis;

namespace Broadcast.Middleware.Redis.Tests.Faults;

/// <summary>
/// Tests that nodes follow a Sentinel to a new master. The nodes know only the address of the Sentinel.
/// </summary>
public sealed class SentinelTests : RedisTest
{
    [Fact]
    public async Task Master_Killed_NodesContinueWithNewMaster()
    {
        await using var replica = await RedisServer.StartReplicaAsync(Redis);
        await using var replicaConnection = await replica.ConnectAsync();
        await using var sentinel = await RedisServer.StartSentinelAsync("shop", Redis.Port);
        var options = ConfigurationOptions.Parse($"{sentinel.Configuration},abortConnect=false");
        await using var sentinelConnection = await ConnectionMultiplexer.SentinelConnectAsync(options);
        await TestNode.EventuallyAsync(
            async () => sentinelConnection.IsConnected
                && (await sentinelConnection.GetServers()[0].SentinelReplicasAsync("shop")).Length == 1,
            "The Sentinel knows the replica.");
        var configuration = $"{sentinel.Configuration},serviceName=shop,allowAdmin=true";
        static void Configure(RedisBackplaneOptions options) => options.PublishTimeout = TestNode.Patience;
        var (node, other) = (StartNode(configuration, Configure), StartNode(configuration, Configure));
        foreach (var started in new[] { node, other }) await started.SubscribeAsync(Group);
        node.Backplane.SetMember(Group, "m", default);
        for (var i = 0; i < 100; i++) await node.PublishAsync(Group, $"{i}");
        await TestNode.EventuallyAsync(
            async () => await other.Backplane.CountMembersAsync(Group, Token) == 1
                && await replicaConnection.GetDatabase().StreamLengthAsync(Keys.Stream) == 100,
            "The replica has all messages.");

        await Redis.KillAsync();
        for (var i = 100; i < 200; i++) await node.PublishAsync(Group, $"{i}");
        foreach (var receiver in new[] { node, other })
        {
            await receiver.WaitForMessagesAsync(Group, 200);
            Assert.Equal(Enumerable.Range(0, 200).Select(i => $"{i}"), receiver.GetReceivedTexts(Group));
            Assert.Equal(0, receiver.GetLossCount(Group));
        }

        await TestNode.EventuallyAsync(
            async () => await other.Backplane.CountMembersAsync(Group, Token) == 1, "The member is listed.");
    }
}
