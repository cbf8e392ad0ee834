using Microsoft.Playwright;
using static Microsoft.Playwright.Assertions;

namespace WebDemo.Tests;

/// <summary>Tests the start page in a browser.</summary>
public sealed class LiveStartPageTests(DemoServer server, BrowserFixture browser) : IClassFixture<DemoServer>
{
    [Fact]
    public async Task StartPage_TwoVisitors_ShowsFiguresAndCursorOfOther()
    {
        await using var ann = await OpenAsync("Ann");
        await using (var ben = await OpenAsync("Ben"))
        {
            // Each page also has a connection to the prices.
            await Expect(ann.Page.Locator("#people")).ToHaveTextAsync("4");
            await Expect(ann.Page.Locator("#messages-per-second")).Not.ToHaveTextAsync("–");
            await Expect(ann.Page.GetByRole(AriaRole.List, new() { Name = "Prices" }).GetByRole(AriaRole.Listitem).First).ToBeVisibleAsync();
            await ben.Page.Mouse.MoveAsync(300, 300);
            await Expect(ann.Page.Locator(".cursor")).ToHaveTextAsync(["Ben"]);
        }

        await Expect(ann.Page.Locator(".cursor")).ToHaveCountAsync(0);
    }

    async Task<DemoPage> OpenAsync(string name)
    {
        // The start page has no field for the name. It uses the name that another page has remembered.
        var page = await browser.OpenAsync(new(server.Url, "/game.html"), name);
        await page.ExpectStateAsync("Connected");
        await page.Page.GotoAsync(server.Url.AbsoluteUri);
        await page.ExpectStateAsync("Connected");
        return page;
    }
}
