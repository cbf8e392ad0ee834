using static Microsoft.Playwright.Assertions;

namespace WebDemo.Tests;

/// <summary>Tests the prices page on a slow transport.</summary>
[Trait("Run", "More")]
public sealed class SlowTransportPricesTests(DemoServer server, BrowserFixture browser)
{
    // The server publishes about 16,000 bytes per second.
    const int SlowBytesPerSecond = 2000;

    static readonly int Milliseconds = Math.Min(40_000, 10_000 * Effort.Factor);

    /// <remarks>
    /// Without conflation, each second of prices would increase the delay of the slow page by 7 seconds.
    /// The throttling of Chromium is not suitable, because its buffers and the buffers of the system hold more than a minute of prices.
    /// </remarks>
    [Fact(Timeout = 240_000)]
    public async Task Prices_OnSlowTransport_StayRecentAndDoNotDelayOtherPages()
    {
        await using var proxy = new ThrottlingProxy(server.Url);
        proxy.Start();
        await using var slow = await PricesPage.OpenAsync(browser, proxy.Url);
        await using var fast = await PricesPage.OpenAsync(browser, server.Url);
        foreach (var page in new[] { slow, fast }) await page.AssertAllPricesChangeAsync();
        proxy.BytesPerSecond = SlowBytesPerSecond;
        var start = (await slow.GetPriceAgesAsync()).Now;

        // Wait until each shown price was published more than this number of milliseconds after the start.
        await slow.Page.WaitForFunctionAsync(
            "until => [...document.querySelectorAll('.tile')].every(tile => tile.dataset.time > until)", start + Milliseconds, new() { Timeout = 150_000 })
            .WaitAsync(TestContext.Current.CancellationToken);
        var slowAges = (await slow.GetPriceAgesAsync()).Ages;
        TestContext.Current.TestOutputHelper?.WriteLine($"The prices of the slow page are {slowAges.Min()} to {slowAges.Max()} ms old.");

        // The slow transport needs 10 seconds for the 20 KB in the buffers, and 2 more seconds for one price of each symbol. On a busy
        // machine, the proxy is slower. Without conflation, the prices would be about 80 seconds old.
        Assert.InRange(slowAges.Max(), 0, 40_000);

        // The fast page must show recent prices. A busy machine may delay the browser for a moment, so the test waits for recent prices.
        await fast.AssertPricesAreNewerThanAsync(milliseconds: 3_000);
        await fast.AssertAllPricesChangeAsync();
        await slow.ExpectStateAsync("Connected");
        await Expect(slow.Page.Locator("#problem")).ToBeHiddenAsync();

        // When the transport becomes fast, the slow page must also show recent prices.
        proxy.BytesPerSecond = int.MaxValue;
        await slow.AssertPricesAreNewerThanAsync(milliseconds: 2_000);
    }
}
