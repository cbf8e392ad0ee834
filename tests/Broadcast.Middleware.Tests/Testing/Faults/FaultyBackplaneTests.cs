using Microsoft.Extensions.DependencyInjection;

namespace Broadcast.Middleware.Tests.Testing.Faults;

/// <summary>Tests the faults of a cluster of test hosts.</summary>
public sealed class FaultyBackplaneTests
{
    readonly InMemoryCluster _cluster = new();

    static CancellationToken Token => TestContext.Current.CancellationToken;

    [Fact]
    public async Task Outage_MessageMissed_ClosesOnlyClientsOfThatGroup()
    {
        await using var one = await StartAsync();
        await using var two = await StartAsync();
        var missing = await two.ConnectAsync("/rooms/missing");
        var other = await two.ConnectAsync("/rooms/other");

        two.Backplane.IsReachable = false;
        await one.Broadcaster.PublishAsync("missed", Recipients.Group("/rooms/missing"), cancellationToken: Token);
        await Assert.ThrowsAsync<BackplaneException>(async () =>
            await two.Broadcaster.PublishAsync("refused", Recipients.Group("/rooms/other"), cancellationToken: Token));
        two.Backplane.IsReachable = true;

        Assert.Equal(1013, (await missing.ReceiveCloseAsync()).Code);
        await one.Broadcaster.PublishAsync("again", Recipients.Group("/rooms/other"), cancellationToken: Token);
        Assert.Equal("again", await other.ReceiveTextAsync());
        var returning = await two.ConnectAsync("/rooms/missing");
        await one.Broadcaster.PublishAsync("back", Recipients.Group("/rooms/missing"), cancellationToken: Token);
        Assert.Equal("back", await returning.ReceiveTextAsync());
    }

    [Fact]
    public async Task Member_LeavesDuringOutage_IsRemovedAfterOutage()
    {
        await using var one = await StartAsync();
        await using var two = await StartAsync();
        var presence = one.Services.GetRequiredService<IPresence>();
        var ann = await two.ConnectAsync("/rooms/blue");
        Assert.Equal(1, await presence.CountAsync("/rooms/blue", Token));

        two.Backplane.IsReachable = false;
        await ann.CloseAsync();
        await Eventually.True(() => two.Services.GetRequiredService<IConnectionRegistry>().Count == 0);
        Assert.Equal(1, await presence.CountAsync("/rooms/blue", Token));

        two.Backplane.IsReachable = true;
        await Eventually.True(() => presence.CountAsync("/rooms/blue", Token).AsTask().GetAwaiter().GetResult() == 0);
    }

    [Fact]
    public async Task KillAsync_Node_DropsClientsAndMembersOfThatNode()
    {
        await using var one = await StartAsync();
        await using var two = await StartAsync();
        var ann = await one.ConnectAsync("/rooms/blue");
        var bob = await two.ConnectAsync("/rooms/blue");
        var presence = one.Services.GetRequiredService<IPresence>();
        Assert.Equal(2, await presence.CountAsync("/rooms/blue", Token));

        await two.KillAsync();

        Assert.Equal(1, await presence.CountAsync("/rooms/blue", Token));
        await ann.SendAsync("alone");
        Assert.Equal("alone", await ann.ReceiveTextAsync());
        var error = await Assert.ThrowsAsync<BroadcastTestException>(bob.ReceiveTextAsync);
        Assert.Contains("without a close frame", error.Message, StringComparison.Ordinal);
        var lost = Assert.Throws<InvalidOperationException>(() => two.Backplane.IsReachable = true);
        Assert.Contains("Start a new host", lost.Message, StringComparison.Ordinal);
    }

    [Fact]
    public async Task Forget_DataOfCluster_ClosesClientsOfAllNodes()
    {
        await using var one = await StartAsync();
        await using var two = await StartAsync();
        var ann = await one.ConnectAsync("/rooms/blue");
        var bob = await two.ConnectAsync("/rooms/blue");

        _cluster.Forget();

        Assert.Equal(1013, (await ann.ReceiveCloseAsync()).Code);
        Assert.Equal(1013, (await bob.ReceiveCloseAsync()).Code);
    }

    [Fact]
    public async Task BackplaneAndKillAsync_HostWithoutCluster_Throw()
    {
        await using var host = await BroadcastTestHost.StartAsync(cancellationToken: Token);
        Assert.Contains("'cluster'", Assert.Throws<InvalidOperationException>(() => host.Backplane).Message, StringComparison.Ordinal);
        await Assert.ThrowsAsync<InvalidOperationException>(host.KillAsync);
    }

    Task<BroadcastTestHost> StartAsync() => BroadcastTestHost.StartAsync(
        map: static app => Microsoft.AspNetCore.Builder.BroadcastEndpointRouteBuilderExtensions.MapBroadcast(app, "/rooms/{room}"),
        cluster: _cluster,
        cancellationToken: Token);
}
