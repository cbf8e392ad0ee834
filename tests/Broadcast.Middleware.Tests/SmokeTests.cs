using System.Net.WebSockets;
using System.Text;

namespace Broadcast.Middleware.Tests;

public sealed class SmokeTests
{
    [Fact]
    public async Task Everyone_connected_to_the_same_url_hears_each_other()
    {
        var token = TestContext.Current.CancellationToken;
        await using var app = await BroadcastApp.StartAsync();
        using var one = new ClientWebSocket();
        using var two = new ClientWebSocket();
        await one.ConnectAsync(new Uri($"ws://127.0.0.1:{app.Port}/ws"), token);
        await two.ConnectAsync(new Uri($"ws://127.0.0.1:{app.Port}/ws"), token);
        await Eventually.True(() => app.Registry.CountInGroup("/ws") == 2);
        await one.SendAsync("hello"u8.ToArray(), WebSocketMessageType.Text, true, token);
        var buffer = new byte[100];
        foreach (var socket in new[] { one, two })
        {
            var received = await socket.ReceiveAsync(buffer, token);
            Assert.Equal("hello", Encoding.UTF8.GetString(buffer, 0, received.Count));
        }

        await one.CloseAsync(WebSocketCloseStatus.NormalClosure, "bye", token);
        await Eventually.True(() => app.Registry.Count == 1);
    }
}
