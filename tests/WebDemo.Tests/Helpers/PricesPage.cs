using Microsoft.Playwright;
using static Microsoft.Playwright.Assertions;

namespace WebDemo.Tests;

/// <summary>Opens and reads the prices page.</summary>
static class PricesPage
{
    const int SymbolCount = 50;

    public static async Task<DemoPage> OpenAsync(BrowserFixture browser, Uri server)
    {
        var page = await browser.OpenAsync(new(server, "/prices.html"), window: new() { ColorScheme = ColorScheme.Light });
        await page.ExpectStateAsync("Connected");
        await Expect(page.Page.Locator(".tile")).ToHaveCountAsync(SymbolCount);
        return page;
    }

    extension(DemoPage page)
    {
        /// <summary>Waits until the price of every symbol has changed.</summary>
        public async Task AssertAllPricesChangeAsync()
        {
            await Expect(page.Page.Locator(".tile")).ToHaveCountAsync(SymbolCount);
            var before = await page.Page.Locator(".tile span").AllInnerTextsAsync();
            await page.Page.WaitForFunctionAsync("""
                before => {
                  const changed = window.changed ??= new Set();
                  [...document.querySelectorAll(".tile span")].forEach((price, index) => price.innerText !== before[index] && changed.add(index));
                  return changed.size === before.length && delete window.changed;
                }
                """, before);
        }

        /// <summary>Waits until no shown price is older than this number of milliseconds.</summary>
        public Task AssertPricesAreNewerThanAsync(int milliseconds) => page.Page.WaitForFunctionAsync(
            "maxAge => [...document.querySelectorAll('.tile')].every(tile => Date.now() - tile.dataset.time < maxAge)", milliseconds);

        /// <summary>Returns the current time and the age of each shown price, in milliseconds.</summary>
        public async Task<(double Now, double[] Ages)> GetPriceAgesAsync()
        {
            var times = await page.Page.EvaluateAsync<double[]>(
                "() => [Date.now(), ...[...document.querySelectorAll('.tile')].map(tile => Number(tile.dataset.time))]");
            return (times[0], [.. times.Skip(1).Select(time => times[0] - time)]);
        }
    }
}
