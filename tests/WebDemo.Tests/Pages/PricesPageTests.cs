using Microsoft.Playwright;
using static Microsoft.Playwright.Assertions;

namespace WebDemo.Tests;

/// <summary>Tests the prices page.</summary>
public sealed class PricesPageTests(DemoServer server, BrowserFixture browser)
{
    [Fact]
    public async Task Prices_OfAll50Symbols_ChangeAndShowDirection()
    {
        await using var ann = await PricesPage.OpenAsync(browser, server.Url);
        await ann.AssertAllPricesChangeAsync();
        Assert.All(await ann.Page.Locator(".tile").AllInnerTextsAsync(), static text => Assert.Matches(@"^[A-Z]{5}\s+[▲▼]\s+\d+\.\d\d$", text));
        var names = await ann.Page.Locator(".tile b").AllInnerTextsAsync();
        Assert.Equal(names.Order(StringComparer.Ordinal), names);
    }

    [Fact]
    public async Task Market_Selected_ShowsOnlySymbolsOfThatMarket()
    {
        await using var ann = await PricesPage.OpenAsync(browser, server.Url);
        var all = await ann.Page.Locator(".tile b").AllInnerTextsAsync();
        var shown = new List<string>();
        foreach (var (market, count) in new[] { ("North", 17), ("East", 17), ("South", 16) })
        {
            // The radio buttons work with the keyboard.
            if (market == "North") await ann.TabToAsync(ann.Page.GetByRole(AriaRole.Radio, new() { Name = "All", Exact = true }));
            await ann.Page.Keyboard.PressAsync("ArrowRight");
            await Expect(ann.Page.GetByRole(AriaRole.Radio, new() { Name = market, Exact = true })).ToBeCheckedAsync();
            await ann.ExpectStateAsync("Connected");
            await Expect(ann.Page.Locator(".tile")).ToHaveCountAsync(count);
            await Expect(ann.Page.Locator("#path")).ToHaveTextAsync($"/prices?filter=market={market.ToLowerInvariant()}");
            shown.AddRange(await ann.Page.Locator(".tile b").AllInnerTextsAsync());
        }

        Assert.Equal(all.Order(StringComparer.Ordinal), shown.Order(StringComparer.Ordinal));
    }

    [Fact]
    public async Task Chart_SymbolSelected_ShowsPricesOfThatSymbol()
    {
        await using var ann = await PricesPage.OpenAsync(browser, server.Url);
        await ann.Page.GetByRole(AriaRole.Radio, new() { Name = "FJORD" }).CheckAsync();
        await AssertShowsAsync("FJORD");
        // The tiles also work with the keyboard. FLINT is the next symbol.
        await ann.Page.Keyboard.PressAsync("Shift+Tab");
        await ann.TabToAsync(ann.Page.Locator(".tile :checked"));
        await ann.Page.Keyboard.PressAsync("ArrowRight");
        await AssertShowsAsync("FLINT");

        async Task AssertShowsAsync(string name)
        {
            await Expect(ann.Page.Locator("#chosen")).ToHaveTextAsync(name);
            // The price above the chart equals the price in the tile.
            await ann.Page.WaitForFunctionAsync("""
                name => [...document.querySelectorAll(".tile")].some(tile => tile.innerText.startsWith(name) && tile.innerText.endsWith(document.getElementById("price").textContent))
                """, name);
            // The canvas contains the color of the chart line.
            await ann.Page.WaitForFunctionAsync("""
                () => {
                  const canvas = document.querySelector("#chart canvas");
                  const { data } = canvas.getContext("2d").getImageData(0, 0, canvas.width, canvas.height);
                  for (let i = 0; i < data.length; i += 4) if (data[i] === 0x3b && data[i + 1] === 0x4c && data[i + 2] === 0xca) return true;
                }
                """);
        }
    }

    [Fact]
    public async Task Throttle_SwitchedOn_ShowsReplacedPricesAndNewestPriceOfEachSymbol()
    {
        await using var ann = await PricesPage.OpenAsync(browser, server.Url);
        // The switch works with the keyboard.
        var throttle = ann.Page.GetByRole(AriaRole.Switch, new() { Name = "Throttle me" });
        await ann.TabToAsync(throttle);
        await ann.Page.Keyboard.PressAsync("Space");
        await Expect(throttle).ToBeCheckedAsync();
        await ann.ExpectStateAsync("Connected");
        // The server sends at most 20 of 200 prices per second.
        await ann.Page.WaitForFunctionAsync("() => parseInt(document.getElementById('replaced').textContent) > 100");
        await ann.AssertAllPricesChangeAsync();
        await ann.Page.WaitForFunctionAsync("() => parseInt(document.getElementById('rate').textContent) <= 40");
        await ann.Page.Keyboard.PressAsync("Space");
        await Expect(throttle).Not.ToBeCheckedAsync();
        await Expect(ann.Page.Locator("#replaced")).ToBeHiddenAsync();
        await ann.AssertAllPricesChangeAsync();
    }
}
