using Microsoft.Playwright;
using static Microsoft.Playwright.Assertions;

namespace WebDemo.Tests;

/// <summary>Tests the members page in a browser. Each test uses its own server.</summary>
public sealed class MembersPageTests(BrowserFixture browser)
{
    [Fact]
    public async Task Reconnect_ServerStaysDown_ShowsOneNote()
    {
        await using var server = await DemoServer.CreateAsync();
        await using var ann = await browser.OpenAsync(new(server.Url, "/login.html"), "Ann");
        await ann.Page.GetByLabel("Password").FillAsync("demo");
        await ann.Page.GetByLabel("Password").PressAsync("Enter");
        await ann.ExpectStateAsync("Connected");
        await server.KillAsync();
        await ann.ExpectReconnectingAsync();
        for (var attempt = 1; attempt <= 2; attempt++)
        {
            // After a failed attempt, the page asks the server whether the token is valid. So this request shows a failed attempt.
            await ann.Page.RunAndWaitForRequestAsync(
                () => ann.Page.GetByRole(AriaRole.Button, new() { Name = "Try now" }).ClickAsync(), static request => request.Url.Contains("/members?", StringComparison.Ordinal));
            await ann.ExpectReconnectingAsync();
        }

        await ann.Page.EvaluateAsync("() => new Promise(requestAnimationFrame)");
        await Expect(ann.Notes).ToHaveTextAsync(["Connected as Ann", "Closed with 1006: the connection was lost."]);
    }
}
