using Microsoft.AspNetCore.Server.Kestrel.Core;

namespace Broadcast.Middleware.Tests.Http;

public sealed class Http2IdleTests
{
    [Fact]
    public async Task IdleWebSocket_LongerThanRequestBodyGracePeriod_StaysOpen()
    {
        await using var app = await BroadcastApp.StartAsync(protocols: HttpProtocols.Http2);
        using var http2 = new Http2Client(app);
        await using var client = await http2.OpenRawAsync();

        // Wait on the system clock, because Kestrel measures its grace period of five seconds with this clock.
        await Task.Delay(TimeSpan.FromSeconds(7), TestContext.Current.CancellationToken);
        await client.SendAsync(ClientFrame.CreateText("still here"));

        Assert.Equal("still here", (await client.ReadFrameAsync()).Text);
        Assert.Equal(1, app.Registry.Count);
    }
}
