using System.Text.Json;
using Microsoft.Playwright;

namespace WebDemo.Tests;

/// <summary>Runs axe-core on all pages, in light and dark colors, and on a desktop and a phone.</summary>
public sealed class AccessibilityTests(DemoServer server, BrowserFixture browser)
{
    const int DesktopWidth = 1280, PhoneWidth = 390, Height = 720;

    static readonly string AxeScript = Path.Combine(NpmClient.Folder, "node_modules/axe-core/axe.min.js");

    public static TheoryData<string> Pages => [.. DemoSource.Pages];

    [Theory]
    [MemberData(nameof(Pages))]
    public async Task Page_EachSizeAndColorScheme_HasNoAxeViolation(string page)
    {
        // The content security policy of the pages does not allow the script of axe-core.
        await using var ann = await browser.OpenAsync(new(server.Url, page), window: new() { BypassCSP = true, ReducedMotion = ReducedMotion.Reduce });
        if (page == "members.html") await ann.LogInAsync("Ann");
        await ann.Page.AddScriptTagAsync(new() { Path = AxeScript });
        await ann.Page.SetViewportSizeAsync(PhoneWidth, Height);
        await AssertNoViolationAsync(ann.Page, page);
        // On a phone, the open drawer hides most of some pages. So only the desktop size has an open drawer.
        await ann.Page.SetViewportSizeAsync(DesktopWidth, Height);
        await ann.Page.GetByRole(AriaRole.Button, new() { Name = "Code and frames of this page" }).ClickAsync();
        await AssertNoViolationAsync(ann.Page, page);
    }

    static async Task AssertNoViolationAsync(IPage ui, string page)
    {
        foreach (var colors in new[] { ColorScheme.Light, ColorScheme.Dark })
        {
            await ui.EmulateMediaAsync(new() { ColorScheme = colors });
            var violations = await ui.EvaluateAsync<JsonElement>("""
                async () => (await axe.run()).violations.map(({ id, nodes }) => `${id}: ${nodes.map(({ html, failureSummary }) => html + failureSummary).join("; ")}`)
                """);
            Assert.True(violations.GetArrayLength() == 0, $"{page}, {ui.ViewportSize!.Width} px, {colors}: {violations}");
        }
    }
}
