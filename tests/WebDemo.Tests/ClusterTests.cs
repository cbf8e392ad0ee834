using System.Diagnostics;
using System.Net.WebSockets;
using System.Text.Json;

namespace WebDemo.Tests;

/// <summary>Two demos and one Redis.</summary>
public sealed class ClusterTests : IAsyncLifetime
{
    readonly Demo _one = new();
    readonly Demo _two = new();
    Redis? _redis;

    public async ValueTask InitializeAsync()
    {
        _redis = new Redis();
        foreach (var demo in (Demo[])[_one, _two]) await demo.StartAsync(_redis.Settings);
    }

    public async ValueTask DisposeAsync()
    {
        await _one.DisposeAsync();
        await _two.DisposeAsync();
        _redis?.Dispose();
    }

    [Fact]
    public async Task Who_is_at_one_hears_who_is_at_the_other()
    {
        using var ann = await _one.ConnectAsync("/ws");
        using var bob = await _two.ConnectAsync("/ws");
        await _one.WaitForCountAsync("/ws", 1);
        await _two.WaitForCountAsync("/ws", 1);
        Assert.Equal("Healthy", await _one.Http.GetStringAsync(new Uri("/health", UriKind.Relative), TestContext.Current.CancellationToken));

        await SayAsync(ann, "from ann");
        Assert.Equal(("from ann", "from ann"), (await HearAsync(ann), await HearAsync(bob)));
        await SayAsync(bob, "from bob");
        Assert.Equal(("from bob", "from bob"), (await HearAsync(ann), await HearAsync(bob)));
    }

    [Fact]
    public async Task Who_was_at_a_node_that_has_died_has_left_fifteen_seconds_later()
    {
        using var watcher = await _one.ConnectAsync("/rooms/blue/presence");
        using var ann = await _one.ConnectAsync("/rooms/blue");
        var annsId = Read(await HearAsync(watcher)).Id;
        using var bob = await _two.ConnectAsync("/rooms/blue");
        var bobsId = Read(await HearAsync(watcher)).Id;
        Assert.NotEqual(annsId, bobsId);

        var killed = Stopwatch.StartNew();
        await _two.KillAsync();
        var left = Read(await HearAsync(watcher));
        Assert.Equal((bobsId, null), (left.Id, left.Name));
        Assert.InRange(killed.Elapsed, TimeSpan.Zero, TimeSpan.FromSeconds(15));
        await SayAsync(ann, "still here");
        Assert.Equal("still here", await HearAsync(ann));
    }

    static (string Id, string? Name) Read(string presence)
    {
        var member = JsonDocument.Parse(presence).RootElement;
        return (member.GetProperty("id").GetString()!, member.TryGetProperty("name", out var name) ? name.GetString() : null);
    }

    static Task SayAsync(ClientWebSocket socket, string text) =>
        socket.SendAsync(System.Text.Encoding.UTF8.GetBytes(text), WebSocketMessageType.Text, endOfMessage: true, TestContext.Current.CancellationToken);

    static async Task<string> HearAsync(ClientWebSocket socket)
    {
        var buffer = new byte[1024];
        var received = await socket.ReceiveAsync(buffer, TestContext.Current.CancellationToken).WaitAsync(TimeSpan.FromSeconds(20), TestContext.Current.CancellationToken);
        return System.Text.Encoding.UTF8.GetString(buffer, 0, received.Count);
    }
}
