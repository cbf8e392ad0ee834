using System.Net.WebSockets;

namespace WebDemo.Tests;

/// <summary>Tests the URLs of the demo that show the people at another URL.</summary>
[Collection<WsCollection>]
public sealed class PresenceTests(DemoServer demo)
{
    [Theory]
    [InlineData("/rooms/presence-test")]
    [InlineData("/board")]
    public async Task Presence_PersonConnectsAndLeaves_ShowsAndRemovesName(string path)
    {
        using var watcher = await demo.ConnectAsync(path + "/presence");
        using var ann = await demo.ConnectAsync(path);
        var (id, name) = await watcher.NextPresenceChangeAsync(static (_, name) => name is not null);
        Assert.StartsWith("guest ", name, StringComparison.Ordinal);

        using var late = await demo.ConnectAsync(path + "/presence");
        Assert.Equal((id, name), await late.NextPresenceChangeAsync((other, _) => other == id));
        await ann.CloseAsync(WebSocketCloseStatus.NormalClosure, null, TestContext.Current.CancellationToken);
        Assert.Equal((id, null), await watcher.NextPresenceChangeAsync(static (_, name) => name is null));
        Assert.Equal((id, null), await late.NextPresenceChangeAsync(static (_, name) => name is null));
    }

    [Fact]
    public async Task Presence_ClientSendsMessage_IsClosed()
    {
        using var watcher = await demo.ConnectAsync("/board/presence");
        await watcher.ReceiveJsonAsync();
        await watcher.SendTextAsync("hello");
        await watcher.AssertClosedAsync(WebSocketCloseStatus.PolicyViolation);
    }
}
