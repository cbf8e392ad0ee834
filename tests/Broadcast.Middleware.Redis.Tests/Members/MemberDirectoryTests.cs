using Broadcast.Middleware.Redis.Storage;
using Broadcast.Middleware.Redis.Tests.Infrastructure;

namespace Broadcast.Middleware.Redis.Tests.Members;

public sealed class MemberDirectoryTests : RedisTest
{
    [Fact]
    public async Task Members_OfDisconnectedNode_DisappearAndReturnOnReconnect()
    {
        var proxy = CreateProxy();
        var (disconnected, other) = (StartNode(proxy.Configuration), StartNode());
        disconnected.Backplane.SetMember(Group, "kept", default);
        disconnected.Backplane.SetMember(Group, "removed", default);
        other.Backplane.SetMember(Group, "other", default);
        await WaitForMembersAsync("kept", "other", "removed");
        proxy.Close();
        disconnected.Backplane.RemoveMember(Group, "removed");
        disconnected.Backplane.SetMember(Group, "added", default);
        await WaitForMembersAsync("other");
        proxy.Open();
        await WaitForMembersAsync("added", "kept", "other");

        Task WaitForMembersAsync(params string[] names) => TestNode.EventuallyAsync(
            async () =>
            {
                var members = await other.Backplane.GetMembersAsync(Group, Token);
                return members.Select(member => member.Name).Order().SequenceEqual(names)
                    && await other.Backplane.CountMembersAsync(Group, Token) == names.Length;
            },
            $"The members are {string.Join(", ", names)}.");
    }

    [Fact]
    public async Task Members_MasterIsDownAndReplicaIsConnected_QueryFails()
    {
        await using var replica = await RedisServer.StartReplicaAsync(Redis);
        var (listed, other) = (
            StartNode(), StartNode(
                $"{Redis.Configuration},{replica.Configuration}",
                options => options.PublishTimeout = TimeSpan.FromSeconds(1)));
        listed.Backplane.SetMember(Group, "m", default);
        await using var connection = await replica.ConnectAsync();
        var keySpace = new KeySpace("test", "", 0, []);
        await TestNode.EventuallyAsync(
            async () => listed.NodeName is { } name
                && await connection.GetDatabase().KeyExistsAsync(Keys.Members(name))
                && await connection.GetDatabase().KeyExistsAsync(keySpace.Heartbeat(name)),
            "The replica has the member and the heartbeat.");
        var name = listed.NodeName!;
        await Redis.KillAsync();
        await TestNode.EventuallyAsync(
            async () => !await connection.GetDatabase().KeyExistsAsync(keySpace.Heartbeat(name)),
            "The heartbeat expires on the replica.");
        await Assert.ThrowsAsync<BackplaneException>(() => other.Backplane.CountMembersAsync(Group, Token).AsTask());
        await Assert.ThrowsAsync<BackplaneException>(() => other.Backplane.GetMembersAsync(Group, Token).AsTask());
    }

    [Fact]
    public async Task Members_OfStoppedNode_DisappearImmediately()
    {
        // The default NodeTimeout of 12 seconds is longer than the test, so the heartbeat cannot expire.
        var stopped = new TestNode(Nodes.Create(Redis.Configuration, usesShortIntervals: false));
        var other = StartNode();
        stopped.Backplane.SetMember(Group, "m", default);
        await TestNode.EventuallyAsync(
            async () => await other.Backplane.CountMembersAsync(Group, Token) == 1, "The member is listed.");
        await ((IAsyncDisposable)stopped.Backplane).DisposeAsync();
        Assert.Equal(0, await other.Backplane.CountMembersAsync(Group, Token));
    }
}
