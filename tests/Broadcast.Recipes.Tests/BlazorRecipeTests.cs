using Microsoft.Playwright;
using static Microsoft.Playwright.Assertions;

namespace Broadcast.Recipes.Tests;

/// <summary>Runs the Blazor Server recipe in a browser.</summary>
public sealed class BlazorRecipeTests
{
    const float WaitMilliseconds = 60_000;

    static readonly string? BrowserPath = Environment.GetEnvironmentVariable("CHROMIUM")
        ?? Array.Find(["/usr/bin/chromium-headless-shell", "/usr/bin/chromium"], File.Exists);

    [Fact]
    public async Task Component_PublishedPrices_ShowsNewestPrices()
    {
        Assert.SkipUnless(BrowserPath is not null, "Chromium does not exist. Install chromium, or set CHROMIUM to its path.");
        await using var app = await RecipeApp.StartAsync();
        using var playwright = await Playwright.CreateAsync();
        await using var browser = await playwright.Chromium.LaunchAsync(new() { ExecutablePath = BrowserPath, Args = ["--no-sandbox", "--disable-gpu"] });
        var page = await browser.NewPageAsync();
        await page.GotoAsync(app.Url, new() { Timeout = WaitMilliseconds });
        var items = page.GetByRole(AriaRole.Listitem);

        // Publish until the component has joined the group. Then the page shows each newer price.
        for (var price = 1; await items.CountAsync() == 0; price++)
        {
            Assert.InRange(price, 1, 10_000);
            await app.PublishAsync("/prices", $"{price}", "ACME");
            await page.WaitForTimeoutAsync(20);
        }

        await app.PublishAsync("/prices", "7.50", "ZETA");
        await app.PublishAsync("/prices", "99.00", "ACME");
        await Expect(items).ToHaveTextAsync(["ACME: 99.00", "ZETA: 7.50"], new() { Timeout = WaitMilliseconds });
        await page.CloseAsync();
    }
}
