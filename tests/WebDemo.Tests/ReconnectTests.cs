using Microsoft.Playwright;
using static Microsoft.Playwright.Assertions;

namespace WebDemo.Tests;

[Collection<PageCollection>]
public sealed class ReconnectTests(Chromium chromium)
{
    [Fact]
    public async Task After_the_server_was_killed_and_started_again_all_are_back_by_themselves()
    {
        await using var demo = new Demo();
        await demo.StartAsync();
        await using var ann = await chromium.OpenAsync(demo, "Ann");
        await using var ben = await chromium.OpenAsync(demo, "Ben");
        await ann.ConnectAsync();
        await ben.ConnectAsync();
        await ann.SayAsync("before");
        await ben.SeesLastAsync("Ann: before");
        await demo.KillAsync();
        foreach (var visitor in new[] { ann, ben })
        {
            await visitor.IsReconnectingAsync();
            await Expect(visitor.MessageBox).ToBeDisabledAsync();
            await Expect(visitor.MessageBox).ToHaveAccessibleDescriptionAsync("You can write when the connection is back.");
            await Expect(visitor.Notes.Last).ToHaveTextAsync("Closed with 1006: the connection was lost.");
        }

        await demo.StartAsync();
        foreach (var visitor in new[] { ann, ben }) await Expect(visitor.State).ToHaveTextAsync("Connected", new() { Timeout = 40_000 });
        await ann.SeesCountAsync(2);
        await ann.SayAsync("after");
        await ben.SeesLastAsync("Ann: after");
        await Expect(ben.Messages).ToHaveCountAsync(2);
    }

    [Fact]
    public async Task The_waits_become_longer_and_disconnect_ends_them()
    {
        await using var demo = new Demo();
        await demo.StartAsync();
        await using var ann = await chromium.OpenAsync(demo, "Ann");
        var sockets = 0;
        ann.Page.WebSocket += (_, _) => sockets++;
        await ann.Page.Clock.InstallAsync();
        await ann.ConnectAsync();
        await ann.Page.Clock.PauseAtAsync(DateTime.UtcNow.AddMinutes(1));
        await demo.KillAsync();
        for (var attempt = 1; attempt <= 7; attempt++)
        {
            await ann.IsReconnectingAsync();
            // 1 s, twice as long each time, at most 30; of that, at least half.
            var most = Math.Min(30, 1 << (attempt - 1));
            Assert.InRange(await ann.SecondsToWaitAsync(), Math.Max(1, most / 2), most);
            await ann.Page.RunAndWaitForWebSocketAsync(() => ann.Page.Clock.FastForwardAsync(most * 1000));
        }

        await ann.IsReconnectingAsync();
        await ann.Disconnect.ClickAsync();
        await Expect(ann.State).ToHaveTextAsync("Disconnected");
        await demo.StartAsync();
        await ann.Page.Clock.FastForwardAsync(120_000);
        await ann.SeesCountAsync(0);
        await Expect(ann.State).ToHaveTextAsync("Disconnected");
        Assert.Equal(8, sockets);
    }

    [Fact]
    public async Task A_close_by_the_server_is_shown_with_its_code_and_reason()
    {
        await using var demo = new Demo();
        await demo.StartAsync("--Broadcast:MaxMessageBytes=20");
        await using var ann = await chromium.OpenAsync(demo, "Ann");
        await ann.ConnectAsync();
        await ann.SayAsync("longer than twenty bytes");
        await Expect(ann.Notes.Filter(new() { HasText = "Closed with 1009: a message exceeds MaxMessageBytes (20)." })).ToBeVisibleAsync();
        await ann.Page.GetByRole(AriaRole.Button, new() { Name = "Try now" }).ClickAsync();
        await Expect(ann.State).ToHaveTextAsync("Connected");
        await demo.StopAsync();
        await Expect(ann.Notes.Last).ToHaveTextAsync("Closed with 1001: The server is shutting down.");
        await Expect(ann.State).ToHaveTextAsync("Reconnecting");
    }
}
