using Microsoft.Playwright;
using static Microsoft.Playwright.Assertions;

namespace WebDemo.Tests;

/// <summary>Tests the sensors page.</summary>
public sealed class SensorsPageTests(DemoServer server, BrowserFixture browser)
{
    [Fact]
    public async Task Readings_OfSensor_AreShownOnOpenAndLaterPages()
    {
        await using var ann = await OpenAsync();
        await PostAsync("21.5");
        await Expect(Sensor(ann).Locator("b")).ToHaveTextAsync("21.5");
        await PostAsync("22");
        await Expect(Sensor(ann).Locator("b")).ToHaveTextAsync("22");
        await using var ben = await OpenAsync();
        await Expect(Sensor(ben).Locator("b")).ToHaveTextAsync("22");
        // The charts show both readings.
        foreach (var page in new[] { ann, ben })
            Assert.Equal(2, (await Sensor(page).Locator("polyline").GetAttributeAsync("points"))!.Split(' ').Length);
    }

    async Task<DemoPage> OpenAsync()
    {
        var page = await browser.OpenAsync(new(server.Url, "/sensors.html"));
        await page.ExpectStateAsync("Connected");
        return page;
    }

    async Task PostAsync(string value)
    {
        using var response = await server.Http.PostAsync("/sensors/cellar", new StringContent(value), TestContext.Current.CancellationToken);
        response.EnsureSuccessStatusCode();
    }

    static ILocator Sensor(DemoPage page) =>
        page.Page.GetByRole(AriaRole.List, new() { Name = "Readings" }).GetByRole(AriaRole.Listitem).Filter(new() { HasText = "cellar" });
}
