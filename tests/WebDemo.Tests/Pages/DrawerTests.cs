using Microsoft.Playwright;
using static Microsoft.Playwright.Assertions;

namespace WebDemo.Tests;

/// <summary>Tests the drawer of each page, which shows the code of the page and its frames.</summary>
public sealed class DrawerTests(DemoServer server, BrowserFixture browser)
{
    const int MaxCodeLines = 60, MaxShownLines = 30;

    public static TheoryData<string> Pages => [.. DemoSource.Pages];

    [Theory]
    [MemberData(nameof(Pages))]
    public async Task Drawer_OpenedByKeyboard_ShowsRealSourceAndFrames(string page)
    {
        await using var ann = await browser.OpenAsync(new(server.Url, page));
        // Without a token, the members page redirects to the login page. The login page has no WebSocket.
        var shown = page == "members.html" ? "login.html" : page;
        if (page != shown) await ann.Page.WaitForURLAsync($"**/{shown}");
        var button = ann.Page.GetByRole(AriaRole.Button, new() { Name = "Code and frames of this page" });
        var drawer = ann.Page.GetByRole(AriaRole.Complementary, new() { Name = "Behind this page" });
        await button.FocusAsync();
        await ann.Page.Keyboard.PressAsync("Enter");

        await Expect(drawer).ToBeVisibleAsync();
        await Expect(button).ToHaveAttributeAsync("aria-expanded", "true");
        foreach (var side in new[] { "server", "client" }) await AssertShowsSourceAsync(drawer, shown, side);
        if (page == "game.html") await ann.Page.Locator("#field").PressAsync("ArrowLeft");
        if (page is "index.html" or "prices.html" or "board.html" or "groups.html" or "game.html")
            await Expect(drawer.GetByRole(AriaRole.List).GetByRole(AriaRole.Listitem).First).ToBeVisibleAsync();

        await ann.Page.Keyboard.PressAsync("Escape");
        await Expect(drawer).ToBeHiddenAsync();
        if (page != "game.html") await Expect(button).ToBeFocusedAsync();
    }

    [Theory]
    [MemberData(nameof(Pages))]
    public void ShownSource_EachPage_IsShort(string page)
    {
        foreach (var side in new[] { "server", "client" }) Assert.InRange(DemoSource.GetShownLines(page, side).Length, 5, MaxShownLines);
    }

    [Fact]
    public void CodeFile_ExceptProgram_HasAtMost60Lines() =>
        Assert.All(DemoSource.CodeFiles, static path => Assert.InRange(DemoSource.CountCodeLines(path), 1, MaxCodeLines));

    static async Task AssertShowsSourceAsync(ILocator drawer, string page, string side)
    {
        var code = drawer.GetByRole(AriaRole.Region, new() { Name = side, Exact = false }).Locator("code");
        await Expect(code).Not.ToBeEmptyAsync();
        var lines = (await code.InnerTextAsync()).Split('\n').Select(static line => line.Trim()).Where(static line => line != "");
        Assert.Equal(DemoSource.GetShownLines(page, side), lines);
    }
}
