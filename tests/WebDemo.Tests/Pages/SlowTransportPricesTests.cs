using static Microsoft.Playwright.Assertions;

namespace WebDemo.Tests;

/// <summary>The prices page on a slow transport.</summary>
public sealed class SlowTransportPricesTests(DemoServer server, BrowserFixture browser)
{
    // The server publishes about 16,000 bytes per second.
    const int SlowBytesPerSecond = 2000;

    static readonly int Milliseconds = Math.Min(40_000, 10_000 * Effort.Factor);

    /// <remarks>
    /// Without conflation, the slow page would be 7 seconds late after each second of prices.
    /// Chromium's own throttling is not suitable, because its buffers and those of the system hold more than a minute of prices.
    /// </remarks>
    [Fact(Timeout = 240_000)]
    public async Task Prices_SlowTransport_ShowsRecentPricesWithoutDelayOfOtherPages()
    {
        await using var proxy = new ThrottlingProxy(server.Url);
        proxy.Start();
        await using var slow = await PricesPage.OpenAsync(browser, proxy.Url);
        await using var fast = await PricesPage.OpenAsync(browser, server.Url);
        foreach (var page in new[] { slow, fast }) await page.AssertAllPricesChangeAsync();
        proxy.BytesPerSecond = SlowBytesPerSecond;
        var start = (await slow.GetPriceAgesAsync()).Now;

        // Wait until every shown price is this much newer than the start.
        await slow.Page.WaitForFunctionAsync(
            "until => [...document.querySelectorAll('.tile')].every(tile => tile.dataset.time > until)", start + Milliseconds, new() { Timeout = 150_000 })
            .WaitAsync(TestContext.Current.CancellationToken);
        var slowAges = (await slow.GetPriceAgesAsync()).Ages;
        TestContext.Current.TestOutputHelper?.WriteLine($"The prices of the slow page are {slowAges.Min()} to {slowAges.Max()} ms old.");

        // The buffers hold about 20 KB, which takes 10 seconds. One price of each symbol takes 2 seconds more.
        Assert.InRange(slowAges.Max(), 0, 16_000);

        // The fast page is up to date. A busy machine may delay the browser for a moment, so the test waits for this.
        await fast.AssertPricesAreNewerThanAsync(milliseconds: 3_000);
        await fast.AssertAllPricesChangeAsync();
        await slow.ExpectStateAsync("Connected");
        await Expect(slow.Page.Locator("#problem")).ToBeHiddenAsync();

        // A fast transport brings the page up to date.
        proxy.BytesPerSecond = int.MaxValue;
        await slow.AssertPricesAreNewerThanAsync(milliseconds: 2_000);
    }
}
