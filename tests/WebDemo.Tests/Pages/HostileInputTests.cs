using System.Net.Http.Json;
using static Microsoft.Playwright.Assertions;

namespace WebDemo.Tests;

/// <summary>Tests that pages show markup in names and messages as text, and ignore malformed messages.</summary>
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

    [Theory]
    [InlineData("index.html", "#ticker b")]
    [InlineData("prices.html", ".tile b")]
    public async Task Price_WithoutNumber_IsIgnored(string page, string selector)
    {
        // The group retains the newest message of each key, so the page also receives earlier messages.
        await PublishAsync("?group=/prices&key=0", """{"symbol":"0"}""");
        await PublishAsync("?group=/prices&key=1", """{"symbol":"1","price":"1","time":1}""");
        await PublishAsync("?group=/prices&key=2", "null");
        var price = new PriceUpdate("00", 1, 0, DateTimeOffset.UtcNow.ToUnixTimeMilliseconds());
        using var response = await PostAsync("/publish?group=/prices&key=00", price);
        await using var ann = await browser.OpenAsync(new(server.Url, page));
        await Expect(ann.Page.Locator(selector).First).ToHaveTextAsync("00");
        // The end of the test also asserts that the page reported no error.
        foreach (var symbol in new[] { "0", "1" })
            await Expect(ann.Page.Locator(selector).GetByText(symbol, new() { Exact = true })).ToHaveCountAsync(0);
    }

    [Fact]
    public async Task BoardMessage_WithoutNameOrPoints_IsIgnored()
    {
        await using var ann = await browser.OpenAsync(new(server.Url, "board.html"));
        var cursors = ann.Page.Locator(".cursor");
        // The page joins the group of all connections shortly after the handshake.
        do await PublishAsync("", """{"type":"cursor","id":"one","name":"One","x":1,"y":1}""");
        while (await cursors.CountAsync() == 0);
        await PublishAsync("", """{"type":"stroke"}""");
        await PublishAsync("", """{"type":"stroke","name":"Ann","points":7}""");
        await PublishAsync("", """{"type":"stroke","points":[1,2]}""");
        await PublishAsync("", """{"type":"cursor","id":"none","x":1,"y":1}""");
        await PublishAsync("", "null");
        await PublishAsync("", """{"type":"cursor","id":"two","name":"Two","x":1,"y":1}""");
        await Expect(cursors).ToHaveTextAsync(["One", "Two"]);
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

    async Task PublishAsync(string query, string text)
    {
        using var response = await server.Http.PostAsync($"/publish{query}", new StringContent(text), TestContext.Current.CancellationToken);
        response.EnsureSuccessStatusCode();
    }

    Task<HttpResponseMessage> PostAsync<T>(string url, T body) => server.Http.PostAsJsonAsync(url, body, TestContext.Current.CancellationToken);
}
