using System.Diagnostics;
using System.Text.Json;

namespace WebDemo.Tests;

/// <summary>Two nodes of the demo and one Redis server.</summary>
public sealed class ClusterTests : IAsyncLifetime
{
    readonly DemoServer _one = new();
    readonly DemoServer _two = new();
    RedisServer? _redis;

    public async ValueTask InitializeAsync()
    {
        _redis = new RedisServer();
        await Task.WhenAll(_one.StartAsync(_redis.NodeSettings).AsTask(), _two.StartAsync(_redis.NodeSettings).AsTask());
    }

    public async ValueTask DisposeAsync()
    {
        await _one.DisposeAsync();
        await _two.DisposeAsync();
        _redis?.Dispose();
    }

    [Fact]
    public async Task Send_ToOneNode_ReachesClientsOfBothNodes()
    {
        using var ann = await _one.ConnectAsync("/ws");
        using var bob = await _two.ConnectAsync("/ws");
        await _one.WaitForCountAsync("/ws", 1);
        await _two.WaitForCountAsync("/ws", 1);
        Assert.Equal("Healthy", await _one.Http.GetStringAsync(new Uri("/health", UriKind.Relative), TestContext.Current.CancellationToken));

        await ann.SendTextAsync("from ann");
        Assert.Equal(("from ann", "from ann"), (await ann.ReceiveTextAsync(), await bob.ReceiveTextAsync()));
        await bob.SendTextAsync("from bob");
        Assert.Equal(("from bob", "from bob"), (await ann.ReceiveTextAsync(), await bob.ReceiveTextAsync()));
    }

    [Fact]
    public async Task Presence_NodeKilled_RemovesItsMembersWithin15Seconds()
    {
        using var watcher = await _one.ConnectAsync("/rooms/blue/presence");
        using var ann = await _one.ConnectAsync("/rooms/blue");
        var annsId = ReadPresence(await watcher.ReceiveJsonAsync()).Id;
        using var bob = await _two.ConnectAsync("/rooms/blue");
        var bobsId = ReadPresence(await watcher.ReceiveJsonAsync()).Id;
        Assert.NotEqual(annsId, bobsId);

        var killed = Stopwatch.StartNew();
        await _two.KillAsync();
        var left = ReadPresence(await watcher.ReceiveJsonAsync());
        Assert.Equal((bobsId, null), (left.Id, left.Name));
        Assert.InRange(killed.Elapsed, TimeSpan.Zero, TimeSpan.FromSeconds(15));
        await ann.SendTextAsync("still here");
        Assert.Equal("still here", await ann.ReceiveTextAsync());
    }

    static (string Id, string? Name) ReadPresence(JsonElement change) =>
        (change.GetProperty("id").GetString()!, change.TryGetProperty("name", out var name) ? name.GetString() : null);
}
