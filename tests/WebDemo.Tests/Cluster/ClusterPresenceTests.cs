using System.Diagnostics;
using System.Globalization;
using System.Net.WebSockets;

namespace WebDemo.Tests;

/// <summary>Tests presence in a cluster when one of its nodes is killed or stops.</summary>
public sealed class ClusterPresenceTests
{
    [Fact]
    public async Task Presence_NodeKilled_RemovesMembersOfThatNode()
    {
        await using var cluster = await TwoNodeCluster.StartAsync();
        using var watcher = await cluster.One.ConnectAsync("/rooms/blue/presence");
        using var ann = await cluster.One.ConnectAsync("/rooms/blue");
        var (annsId, _) = await watcher.NextPresenceChangeAsync(static (_, _) => true);
        using var bob = await cluster.Two.ConnectAsync("/rooms/blue");
        var (bobsId, _) = await watcher.NextPresenceChangeAsync((id, _) => id != annsId);

        var killed = Stopwatch.StartNew();
        await cluster.Two.KillAsync();
        Assert.Equal((bobsId, null), await watcher.NextPresenceChangeAsync(static (_, name) => name is null));
        Assert.InRange(killed.Elapsed, TimeSpan.Zero, TimeSpan.FromSeconds(30));
        await ann.SendTextAsync("still here");
        Assert.Equal("still here", await ann.ReceiveTextAsync());
    }

    [Fact]
    public async Task Presence_NodeStops_RemovesMembersOfThatNodeBeforeNodeTimeout()
    {
        // The maximum of this option.
        await using var cluster = await TwoNodeCluster.StartAsync("--Broadcast:Redis:NodeTimeout=00:00:15");
        using var watcher = await cluster.One.ConnectAsync("/rooms/rolling/presence");
        using var ann = await cluster.One.ConnectAsync("/rooms/rolling");
        var (annsId, _) = await watcher.NextPresenceChangeAsync(static (_, _) => true);
        using var bob = await cluster.Two.ConnectAsync("/rooms/rolling");
        var (bobsId, bobsName) = await watcher.NextPresenceChangeAsync((id, _) => id != annsId);
        Assert.NotNull(bobsName);

        var stop = Stopwatch.StartNew();
        var stopping = cluster.Two.StopAsync();
        await bob.AssertClosedAsync(WebSocketCloseStatus.EndpointUnavailable);
        await bob.CloseOutputAsync(WebSocketCloseStatus.EndpointUnavailable, null, TestContext.Current.CancellationToken);
        // A node renews its heartbeat after a third of NodeTimeout. So this timeout cannot remove a member within 10 seconds.
        var removed = await watcher.NextPresenceChangeAsync(static (_, name) => name is null)
            .WaitAsync(TimeSpan.FromSeconds(10), TestContext.Current.CancellationToken);
        Assert.Equal((bobsId, null), removed);
        TestContext.Current.TestOutputHelper?.WriteLine(string.Create(CultureInfo.InvariantCulture, $"Removed after {stop.Elapsed.TotalMilliseconds:F0} ms."));
        Assert.Equal(0, await stopping);
    }
}
