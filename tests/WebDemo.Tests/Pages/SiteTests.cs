using Microsoft.Playwright;
using static Microsoft.Playwright.Assertions;

namespace WebDemo.Tests;

/// <summary>Tests the start page, the navigation and the layout of all pages on a phone.</summary>
public sealed class SiteTests(DemoServer server, BrowserFixture browser)
{
    [Fact]
    public async Task Navigation_EachPage_IsLinkedFromStartAndLinksToAllPages()
    {
        await using var ann = await browser.OpenAsync(server.Url);
        foreach (var name in new[] { "Chat", "Prices", "Board", "Groups", "Game", "Sensors", "Load" })
        {
            await ann.Page.GetByRole(AriaRole.Main).GetByRole(AriaRole.Heading, new() { Name = name, Exact = true }).ClickAsync();
            await Expect(ann.Page).ToHaveTitleAsync($"{name} · Broadcast");
            await ann.ExpectStateAsync("Connected");
            var pages = ann.Page.GetByRole(AriaRole.Navigation, new() { Name = "Pages" });
            await Expect(pages.GetByRole(AriaRole.Link)).ToHaveTextAsync(["Chat", "Prices", "Board", "Groups", "Game", "Sensors", "Members", "Load"]);
            await Expect(pages.Locator("[aria-current=page]")).ToHaveTextAsync(name);
            await ann.Page.GetByRole(AriaRole.Link, new() { Name = "Broadcast" }).ClickAsync();
            await Expect(ann.Page).ToHaveTitleAsync("Broadcast");
        }
    }

    [Fact, Trait("Run", "More")]
    public async Task Page_OnPhone_FitsScreenWidth()
    {
        await using var ann = await browser.OpenAsync(
            server.Url, window: new() { ViewportSize = new() { Width = 390, Height = 700 }, IsMobile = true, HasTouch = true });
        foreach (var path in new[] { "/", "/prices.html", "/board.html", "/groups.html", "/game.html" }) await AssertFitsAsync(path, 390);
        foreach (var path in new[] { "/", "/prices.html", "/board.html", "/groups.html", "/game.html", "/sensors.html", "/login.html", "/load.html" })
            await AssertFitsAsync(path, 320);

        async Task AssertFitsAsync(string path, int width)
        {
            // The page loads in the new size.
            await ann.Page.SetViewportSizeAsync(width, 700);
            await ann.Page.GotoAsync(new Uri(server.Url, path).AbsoluteUri);
            if (path == "/prices.html") await Expect(ann.Page.Locator(".tile")).ToHaveCountAsync(50);
            if (path == "/board.html") await Expect(ann.People).ToHaveCountAsync(1);
            if (path == "/groups.html") await Expect(ann.Page.Locator(".group")).ToHaveCountAsync(1);
            var widest = await ann.Page.EvaluateAsync<double>("""
                () => Math.max(document.documentElement.scrollWidth,
                  ...[...document.querySelectorAll(":not(nav) > a, input:not([type=radio]), button, header, .card, .tile, .tile *, canvas, #paper")].map(element => element.getBoundingClientRect().right))
                """);
            Assert.True(widest >= 1 && widest <= width, $"{path} is {widest} px wide on a screen of {width} px.");
        }
    }
}
