using Microsoft.Playwright;
using static Microsoft.Playwright.Assertions;

namespace WebDemo.Tests;

/// <summary>Tests the start page, the navigation and the layout of all pages on a phone.</summary>
public sealed class SiteTests(DemoServer server, BrowserFixture browser)
{
    [Theory]
    [InlineData("Chat", "Connected")]
    [InlineData("Prices", "Connected")]
    [InlineData("Board", "Connected")]
    [InlineData("Groups", "Connected")]
    [InlineData("Game", "Connected")]
    [InlineData("Sensors", "Connected")]
    [InlineData("Load", "Connected")]
    public async Task Navigation_EachPage_IsLinkedFromStartAndLinksToAllPages(string name, string state)
    {
        await using var ann = await browser.OpenAsync(server.Url);
        await ann.Page.GetByRole(AriaRole.Main).GetByRole(AriaRole.Heading, new() { Name = name, Exact = true }).ClickAsync();
        await Expect(ann.Page).ToHaveTitleAsync($"{name} · Broadcast");
        await ann.ExpectStateAsync(state);
        var pages = ann.Page.GetByRole(AriaRole.Navigation, new() { Name = "Pages" });
        await Expect(pages.GetByRole(AriaRole.Link)).ToHaveTextAsync(["Chat", "Prices", "Board", "Groups", "Game", "Sensors", "Members", "Load"]);
        await Expect(pages.Locator("[aria-current=page]")).ToHaveTextAsync(name);
        await ann.Page.GetByRole(AriaRole.Link, new() { Name = "Broadcast" }).ClickAsync();
        await Expect(ann.Page).ToHaveTitleAsync("Broadcast");
    }

    [Theory]
    [InlineData("/", 390)]
    [InlineData("/", 320)]
    [InlineData("/prices.html", 390)]
    [InlineData("/prices.html", 320)]
    [InlineData("/board.html", 390)]
    [InlineData("/board.html", 320)]
    [InlineData("/groups.html", 390)]
    [InlineData("/groups.html", 320)]
    [InlineData("/game.html", 390)]
    [InlineData("/game.html", 320)]
    [InlineData("/sensors.html", 320)]
    [InlineData("/login.html", 320)]
    [InlineData("/load.html", 320)]
    public async Task Page_OnPhone_FitsScreenWidth(string path, int width)
    {
        await using var ann = await browser.OpenAsync(
            new(server.Url, path), window: new() { ViewportSize = new() { Width = width, Height = 700 }, IsMobile = true, HasTouch = true });
        if (path == "/prices.html") await Expect(ann.Page.Locator(".tile")).ToHaveCountAsync(50);
        if (path == "/board.html") await Expect(ann.People).ToHaveCountAsync(1);
        if (path == "/groups.html") await Expect(ann.Page.Locator(".group")).ToHaveCountAsync(1);
        var widest = await ann.Page.EvaluateAsync<double>("""
            () => Math.max(document.documentElement.scrollWidth,
              ...[...document.querySelectorAll(":not(nav) > a, input:not([type=radio]), button, header, .card, .tile, .tile *, canvas, #paper")].map(element => element.getBoundingClientRect().right))
            """);
        Assert.InRange(widest, 1, width);
    }
}
