using System.Net.Http.Json;
using static Microsoft.Playwright.Assertions;

namespace WebDemo.Tests;

/// <summary>Tests that pages show markup in names and messages as text.</summary>
public sealed class HostileInputTests(DemoServer server, BrowserFixture browser) : IClassFixture<DemoServer>
{
    static readonly string[] Markups = ["<img src=x onerror=hacked=1>", "<script>hacked=1</script>"];

    [Theory]
    [InlineData("index.html", ".cursor")]
    [InlineData("board.html", ".cursor")]
    [InlineData("board.html", "#people li")]
    [InlineData("game.html", "#players li")]
    [InlineData("sensors.html", "#sensors h2")]
    [InlineData("members.html", ".bubble b")]
    [InlineData("members.html", ".bubble .text")]
    public async Task Markup_FromOtherClient_IsShownAsText(string page, string selector)
    {
        // The content security policy would block the scripts. This test tests the pages without this second protection.
        await using var ann = await browser.OpenAsync(new(server.Url, page), window: new() { BypassCSP = true });
        if (page == "members.html") await ann.LogInAsync("Ann");
        await ann.ExpectStateAsync("Connected");
        foreach (var markup in Markups)
        {
            using var other = await SendAsync(page, markup);
            await Expect(ann.Page.Locator(selector).Filter(new() { HasText = markup }).First).ToBeVisibleAsync();
        }

        await Expect(ann.Page.Locator("img[src=x], script:not([src])")).ToHaveCountAsync(0);
        Assert.False(await ann.Page.EvaluateAsync<bool>("() => 'hacked' in window"));
    }

    /// <summary>Uses the markup as the name of a client, and as its message. Returns the connection of the client.</summary>
    async Task<IDisposable> SendAsync(string page, string markup)
    {
        var name = Uri.EscapeDataString(markup);
        switch (page)
        {
            case "index.html":
                var visitor = await server.ConnectAsync($"/live?name={name}");
                await visitor.SendBinaryAsync(1, 0, 1, 0);
                return visitor;
            case "board.html":
                var person = await server.ConnectAsync($"/board?name={name}");
                await person.SendTextAsync("""{"type":"cursor","x":1,"y":2}""");
                return person;
            case "game.html":
                return await server.ConnectAsync($"/game?name={name}");
            case "sensors.html":
                // The URL of a sensor cannot contain the slash of the markup.
                var reading = new SensorReading(markup, 1, 1);
                return await PostAsync("/publish?group=/sensors", reading);
            default:
                using (var login = await PostAsync("/login", new LoginRequest(markup, "demo")))
                {
                    var session = await login.Content.ReadFromJsonAsync<LoginResponse>(TestContext.Current.CancellationToken);
                    var member = await server.ConnectAsync($"/members?access_token={session!.Token}");
                    await member.SendTextAsync(markup);
                    return member;
                }
        }
    }

    Task<HttpResponseMessage> PostAsync<T>(string url, T body) => server.Http.PostAsJsonAsync(url, body, TestContext.Current.CancellationToken);
}
