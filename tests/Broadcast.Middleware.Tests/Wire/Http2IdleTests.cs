using Microsoft.AspNetCore.Server.Kestrel.Core;

namespace Broadcast.Middleware.Tests.Wire;

public sealed class Http2IdleTests
{
    [Fact]
    public async Task An_idle_WebSocket_outlives_the_servers_grace_for_slow_request_bodies()
    {
        await using var app = await BroadcastApp.StartAsync(protocols: HttpProtocols.Http2);
        using var http2 = new Http2Client(app);
        await using var client = await http2.OpenRawAsync();

        // The time itself is what is tested: the grace is five seconds, and is looked at each second.
        await Task.Delay(TimeSpan.FromSeconds(7), TestContext.Current.CancellationToken);
        await client.SendAsync(ClientFrame.OfText("still here"));

        Assert.Equal("still here", (await client.ReadFrameAsync()).Text);
        Assert.Equal(1, app.Registry.Count);
    }
}
