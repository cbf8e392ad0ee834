using Microsoft.Playwright;
using static Microsoft.Playwright.Assertions;

namespace WebDemo.Tests;

/// <summary>Tests the chat page when its server stops or restarts. No other test uses the server at the same time.</summary>
[Trait("Run", "More")]
[Collection<RestartCollection>]
public sealed class ChatReconnectTests(RestartedServer restarted, BrowserFixture browser)
{
    [Fact]
    public async Task Reconnect_ServerRestarts_AllPagesReconnect()
    {
        var server = await restarted.GetAsync();
        await using var ann = await browser.OpenChatAsync(server, "Ann");
        await using var ben = await browser.OpenChatAsync(server, "Ben");
        await ann.ConnectAsync();
        await ben.ConnectAsync();
        await ann.SendAsync("before");
        await ben.ExpectLastMessageAsync("Ann: before");
        await server.KillAsync();
        foreach (var page in new[] { ann, ben })
        {
            await page.ExpectReconnectingAsync();
            await Expect(page.MessageBox).ToBeDisabledAsync();
            await Expect(page.MessageBox).ToHaveAccessibleDescriptionAsync("You can write when the connection is back.");
            await Expect(page.Notes.Last).ToHaveTextAsync("Closed with 1006: the connection was lost.");
        }

        await server.StartAsync();
        foreach (var page in new[] { ann, ben }) await page.ExpectStateAsync("Connected");
        await ann.ExpectCountAsync(2);
        await ann.SendAsync("after");
        await ben.ExpectLastMessageAsync("Ann: after");
        await Expect(ben.Messages).ToHaveCountAsync(2);
    }

    [Fact]
    public async Task Reconnect_ServerStaysDown_DelaysGrowUntilDisconnect()
    {
        var server = await restarted.GetAsync();
        await using var ann = await browser.OpenChatAsync(server, "Ann");
        var sockets = 0;
        ann.Page.WebSocket += (_, _) => sockets++;
        await ann.Page.Clock.InstallAsync();
        await ann.ConnectAsync();
        await ann.Page.Clock.PauseAtAsync(DateTime.UtcNow.AddMinutes(1));
        await server.KillAsync();
        for (var attempt = 1; attempt <= 7; attempt++)
        {
            await ann.ExpectReconnectingAsync();
            // The full delay doubles from 1 s up to 30 s. The actual delay is at least half of the full delay.
            var maxSeconds = Math.Min(30, 1 << (attempt - 1));
            Assert.InRange(await ann.GetRetrySecondsAsync(), Math.Max(1, maxSeconds / 2), maxSeconds);
            await ann.Page.RunAndWaitForWebSocketAsync(() => ann.Page.Clock.FastForwardAsync(maxSeconds * 1000));
        }

        await ann.ExpectReconnectingAsync();
        await ann.Disconnect.ClickAsync();
        await ann.ExpectStateAsync("Disconnected");
        await server.StartAsync();
        await ann.Page.Clock.FastForwardAsync(120_000);
        await ann.ExpectCountAsync(0);
        await ann.ExpectStateAsync("Disconnected");
        Assert.Equal(8, sockets);
    }

    [Fact]
    public async Task Close_ByServer_ShowsCodeAndReason()
    {
        await using var server = await DemoServer.CreateAsync("--Broadcast:MaxMessageBytes=20");
        await using var ann = await browser.OpenChatAsync(server, "Ann");
        // The test controls the clock of the page, so the page does not reconnect before the test clicks the button.
        await ann.Page.Clock.InstallAsync();
        await ann.ConnectAsync();
        await ann.Page.Clock.PauseAtAsync(DateTime.UtcNow.AddMinutes(1));
        await ann.SendAsync("longer than twenty bytes");
        await ann.ExpectStateAsync("Reconnecting");
        await ShowNotesAsync();
        await Expect(ann.Notes.Filter(new() { HasText = "Closed with 1009: A message is larger than MaxMessageBytes (20)." })).ToBeVisibleAsync();
        await ann.Page.GetByRole(AriaRole.Button, new() { Name = "Try now" }).ClickAsync();
        await ann.ExpectStateAsync("Connected");
        await server.StopAsync();
        await ann.ExpectStateAsync("Reconnecting");
        await ShowNotesAsync();
        await Expect(ann.Notes.Last).ToHaveTextAsync("Closed with 1001: The server is shutting down.");

        // The page shows new notes in its next animation frame.
        Task ShowNotesAsync() => ann.Page.Clock.RunForAsync(100);
    }
}
