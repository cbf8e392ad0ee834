using Microsoft.Playwright;
using static Microsoft.Playwright.Assertions;

namespace WebDemo.Tests;

/// <summary>Tests the start page in a browser.</summary>
[Trait("Run", "More")]
[Collection<PageCollection>]
public sealed class LiveStartPageTests(DemoServer server, BrowserFixture browser)
{
    [Fact]
    public async Task StartPage_OtherPagesOpen_ShowsNumberOfPagesAndCursorOfOtherVisitor()
    {
        await using var ann = await OpenAsync("Ann");
        var people = ann.Page.Locator("#people");
        await using (var ben = await OpenAsync("Ben"))
        {
            // Each start page also has a connection to the prices.
            await Expect(people).ToHaveTextAsync("2");
            await using (var cem = await browser.OpenAsync(new(server.Url, "/chat.html#/rooms/blue"), "Cem"))
            {
                // The page also has connections to the list of people and to the typing notices.
                await cem.ExpectPeopleAsync("Cem (you)");
                await server.WaitForCountAsync("/rooms/blue/typing", 1);
                await Expect(people).ToHaveTextAsync("3");
            }

            await Expect(people).ToHaveTextAsync("2");
            await Expect(ann.Page.Locator("#messages-per-second")).Not.ToHaveTextAsync("–");
            await Expect(ann.Page.GetByRole(AriaRole.List, new() { Name = "Prices" }).GetByRole(AriaRole.Listitem).First).ToBeVisibleAsync();
            await ben.Page.Mouse.MoveAsync(300, 300);
            await Expect(ann.Page.Locator(".cursor")).ToHaveTextAsync(["Ben"]);
        }

        await Expect(ann.Page.Locator(".cursor")).ToHaveCountAsync(0);
        await Expect(people).ToHaveTextAsync("1");
    }

    [Fact]
    public async Task StartPage_LateVisitor_ShowsRetainedCursorUntilOwnerLeaves()
    {
        using var observer = await server.ConnectAsync("/live");
        await using var ann = await OpenAsync("Ann");
        await ann.Page.Mouse.MoveAsync(300, 300);
        // Wait until the server has published the cursor. The cursor does not move afterwards.
        await observer.ReceiveUntilAsync(static message => message.TryGetProperty("x", out _));

        await using var ben = await OpenAsync("Ben");
        await Expect(ben.Page.Locator(".cursor")).ToHaveTextAsync(["Ann"]);
        await Expect(ben.Page.Locator("#messages-per-second")).Not.ToHaveTextAsync("–");
        await ann.Page.CloseAsync();
        await Expect(ben.Page.Locator(".cursor")).ToHaveCountAsync(0);
    }

    [Fact]
    public async Task StartPage_PointerOutsideArea_SendsOneEmptyMessage()
    {
        await using var ann = await browser.OpenAsync(server.Url);
        await ann.ExpectStateAsync("Connected");
        // Record the size of each message that the page sends.
        await ann.Page.EvaluateAsync("""
            () => {
                const send = WebSocket.prototype.send;
                window.sizes = [];
                WebSocket.prototype.send = function (data) { window.sizes.push(data.byteLength); send.call(this, data); };
            }
            """);
        foreach (var (x, y) in new[] { (300, 300), (5, 5), (6, 6), (7, 7), (300, 300) })
        {
            await ann.Page.Mouse.MoveAsync(x, y);
            // The page sends a position in the next animation frame.
            await ann.Page.EvaluateAsync("() => new Promise(done => requestAnimationFrame(() => requestAnimationFrame(done)))");
        }

        var sizes = await ann.Page.EvaluateAsync<int[]>("window.sizes");
        Assert.Equal([4, 0, 4], sizes);
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
