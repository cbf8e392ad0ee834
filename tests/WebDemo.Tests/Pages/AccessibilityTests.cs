using System.Text.Json;
using Microsoft.Playwright;

namespace WebDemo.Tests;

/// <summary>Runs axe-core on all pages, in light and dark colors, on a desktop and a phone, with a closed and an open drawer.</summary>
[Trait("Run", "More")]
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
        await AssertNoViolationAsync(PhoneWidth, ColorScheme.Light);
        await ann.Page.GetByRole(AriaRole.Button, new() { Name = "Code and frames of this page" }).ClickAsync();
        await AssertNoViolationAsync(PhoneWidth, ColorScheme.Dark);
        await AssertNoViolationAsync(DesktopWidth, ColorScheme.Dark);
        await AssertNoViolationAsync(DesktopWidth, ColorScheme.Light);

        async Task AssertNoViolationAsync(int width, ColorScheme colors)
        {
            await ann.Page.SetViewportSizeAsync(width, Height);
            await ann.Page.EmulateMediaAsync(new() { ColorScheme = colors });
            var violations = await ann.Page.EvaluateAsync<JsonElement>("""
                async () => (await axe.run()).violations.map(({ id, nodes }) => `${id}: ${nodes.map(({ html, failureSummary }) => html + failureSummary).join("; ")}`)
                """);
            Assert.True(violations.GetArrayLength() == 0, $"{page}, {width} px, {colors}: {violations}");
        }
    }
}
