using System.Text.RegularExpressions;
using Microsoft.Playwright;
using static Microsoft.Playwright.Assertions;

namespace WebDemo.Tests;

/// <summary>Tests the load page. All load pages share the clients, so no other load page may be open.</summary>
[Collection<PageCollection>]
public sealed class LoadPageTests(DemoServer server, BrowserFixture browser)
{
    [Fact]
    public async Task Load_FewClientsStarted_ShowsClientsDeliveriesAndLatency()
    {
        await using var ann = await browser.OpenAsync(new(server.Url, "/load.html"));
        await ann.ExpectStateAsync("Connected");
        await ann.Page.GetByRole(AriaRole.Spinbutton, new() { Name = "Clients" }).FillAsync("5");
        await ann.GetButton("Start").ClickAsync();
        await Expect(ann.Page.Locator("#open")).ToHaveTextAsync("5");
        await Expect(ann.Page.Locator("#deliveries")).ToHaveTextAsync(new Regex("^[1-9]"));
        foreach (var id in new[] { "#p50", "#p99" }) await Expect(ann.Page.Locator(id)).ToHaveTextAsync(new Regex(@"^\d+(\.\d+)? ms$"));
        await Expect(ann.Page.Locator("#memory")).ToHaveTextAsync(new Regex(@"^\d+ MB$"));
        await Expect(ann.Page.Locator("#plot path")).ToHaveAttributeAsync("d", new Regex("^M.*L"));
        await ann.GetButton("Stop").ClickAsync();
        await Expect(ann.Page.Locator("#open")).ToHaveTextAsync("0");
        await Expect(ann.GetButton("Start")).ToBeEnabledAsync();
    }
}
