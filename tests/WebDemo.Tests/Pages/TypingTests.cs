using static Microsoft.Playwright.Assertions;

namespace WebDemo.Tests;

/// <summary>Tests that the chat page connects by itself, and shows who is typing.</summary>
public sealed class TypingTests(DemoServer server, BrowserFixture browser)
{
    [Fact]
    public async Task Typing_InRoom_IsShownToOthersUntilMessageArrives()
    {
        await using var ann = await OpenAsync("Ann");
        await using var ben = await OpenAsync("Ben");
        await server.WaitForCountAsync("/rooms/typing/typing", 2);
        // The page of Ben hides a name after four seconds. The test stops the clock of this page until it has seen the name.
        await ben.Page.Clock.InstallAsync();
        await ben.Page.Clock.PauseAtAsync(DateTime.UtcNow.AddMinutes(1));
        await ann.MessageBox.PressSequentiallyAsync("he");
        await Expect(ben.Page.Locator("#typing")).ToHaveTextAsync("Ann is typing…");
        await Expect(ann.Page.Locator("#typing")).ToBeEmptyAsync();
        await ben.Page.Clock.ResumeAsync();
        await ann.MessageBox.PressAsync("Enter");
        await ben.ExpectLastMessageAsync("Ann: he");
        await Expect(ben.Page.Locator("#typing")).ToBeEmptyAsync();
    }

    async Task<DemoPage> OpenAsync(string name)
    {
        var page = await browser.OpenAsync(new(server.Url, "/chat.html#/rooms/typing"), name);
        await page.ExpectStateAsync("Connected");
        return page;
    }
}
