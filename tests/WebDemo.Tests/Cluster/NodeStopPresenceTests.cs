using System.Diagnostics;
using System.Globalization;
using System.Net.WebSockets;

namespace WebDemo.Tests;

/// <summary>Presence in a cluster when one of its nodes stops.</summary>
public sealed class NodeStopPresenceTests : IAsyncLifetime
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
    public async Task Presence_NodeStops_RemovesItsMembersAtOnce()
    {
        using var watcher = await _one.ConnectAsync("/rooms/rolling/presence");
        using var ann = await _one.ConnectAsync("/rooms/rolling");
        var (annsId, _) = await NextChangeAsync(static _ => true);
        using var bob = await _two.ConnectAsync("/rooms/rolling");
        var (bobsId, name) = await NextChangeAsync(id => id != annsId);
        Assert.NotNull(name);

        var stop = Stopwatch.StartNew();
        var stopping = _two.StopAsync();
        await bob.AssertClosedAsync(WebSocketCloseStatus.EndpointUnavailable);
        await bob.CloseOutputAsync(WebSocketCloseStatus.EndpointUnavailable, null, TestContext.Current.CancellationToken);
        // NodeTimeout is 12 seconds, so a change within 10 seconds does not come from the timeout.
        Assert.Equal((bobsId, null), await NextChangeAsync(id => id == bobsId).WaitAsync(TimeSpan.FromSeconds(10), TestContext.Current.CancellationToken));
        TestContext.Current.TestOutputHelper?.WriteLine(string.Create(CultureInfo.InvariantCulture, $"Removed after {stop.Elapsed.TotalMilliseconds:F0} ms."));
        Assert.Equal(0, await stopping);

        async Task<(string? Id, string? Name)> NextChangeAsync(Func<string?, bool> matches)
        {
            while (true)
            {
                var change = await watcher.ReceiveJsonAsync();
                var id = change.GetProperty("id").GetString();
                if (matches(id)) return (id, change.TryGetProperty("name", out var name) ? name.GetString() : null);
            }
        }
    }
}
