using System.Text.Json;
using Microsoft.Playwright;

namespace WebDemo.Tests;

/// <summary>Runs axe-core on all pages, in light and dark colors, with an open drawer.</summary>
public sealed class AccessibilityTests(DemoServer server, BrowserFixture browser)
{
    static readonly string AxeScript = Path.Combine(NpmClient.Folder, "node_modules/axe-core/axe.min.js");

    public static TheoryData<string> Pages => [.. DemoSource.Pages];

    [Theory]
    [MemberData(nameof(Pages))]
    public async Task Page_LightAndDark_HasNoAxeViolation(string page)
    {
        // The content security policy of the pages does not allow the script of axe-core.
        await using var ann = await browser.OpenAsync(new(server.Url, page), window: new() { BypassCSP = true, ReducedMotion = ReducedMotion.Reduce });
        if (page == "members.html") await ann.LogInAsync("Ann");
        await ann.Page.AddScriptTagAsync(new() { Path = AxeScript });
        await ann.Page.GetByRole(AriaRole.Button, new() { Name = "Code and frames of this page" }).ClickAsync();
        foreach (var colors in new[] { ColorScheme.Light, ColorScheme.Dark })
        {
            await ann.Page.EmulateMediaAsync(new() { ColorScheme = colors });
            var violations = await ann.Page.EvaluateAsync<JsonElement>("""
                async () => (await axe.run()).violations.map(({ id, nodes }) => `${id}: ${nodes.map(({ html, failureSummary }) => html + failureSummary).join("; ")}`)
                """);
            Assert.True(violations.GetArrayLength() == 0, $"{page}, {colors}: {violations}");
        }
    }
}
