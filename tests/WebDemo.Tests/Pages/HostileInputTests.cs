using System.Net.Http.Json;
using System.Text.Json;
using static Microsoft.Playwright.Assertions;

namespace WebDemo.Tests;

/// <summary>Tests that pages show markup in names and messages as text, and ignore malformed messages.</summary>
[Trait("Run", "More")]
[Collection<PageCollection>]
public sealed class HostileInputTests(DemoServer server, BrowserFixture browser)
{
    static readonly string[] Markups = ["<img src=x onerror=hacked=1>", "<script>hacked=1</script>"];

    [Theory]
    [InlineData("index.html", ".cursor", "#ticker b")]
    [InlineData("chat.html#/rooms/hostile", ".bubble b", ".bubble .text", "#people li")]
    [InlineData("prices.html", ".tile b")]
    [InlineData("board.html", ".cursor", "#people li")]
    [InlineData("groups.html#markup", ".bubble b", ".bubble .text")]
    [InlineData("game.html", "#players li")]
    [InlineData("sensors.html", "#sensors h2")]
    [InlineData("members.html", ".bubble b", ".bubble .text")]
    public async Task Markup_FromOtherClient_IsShownAsText(string page, params string[] selectors)
    {
        await using var ann = await OpenWithoutPolicyAsync(page);
        if (page == "members.html") await ann.LogInAsync("Ann");
        await ann.ExpectStateAsync("Connected");
        // The groups page joins its group after it has connected.
        if (page == "groups.html#markup") await Expect(ann.Path).ToHaveTextAsync("markup");
        foreach (var markup in Markups)
        {
            using var other = await SendAsync(page, markup);
            foreach (var selector in selectors)
                await Expect(ann.Page.Locator(selector).Filter(new() { HasText = markup }).First).ToBeVisibleAsync();
        }

        await AssertNothingExecutedAsync(ann);
    }

    [Fact]
    public async Task TypingName_WithMarkup_IsShownAsText()
    {
        await using var ann = await OpenWithoutPolicyAsync("chat.html#/rooms/typing");
        await server.WaitForCountAsync("/rooms/typing/typing", 1);
        // The page hides a name after four seconds. The test stops the clock of the page, so the page does not hide the names.
        await ann.Page.Clock.InstallAsync();
        await ann.Page.Clock.PauseAtAsync(DateTime.UtcNow.AddMinutes(1));
        foreach (var markup in Markups)
        {
            using var other = await server.ConnectAsync($"/rooms/typing/typing?name={Uri.EscapeDataString(markup)}");
            await other.SendTextAsync("");
            await Expect(ann.Page.Locator("#typing")).ToContainTextAsync(markup);
        }

        await AssertNothingExecutedAsync(ann);
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
        await PublishPriceAsync("00");
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
        await PublishAsync("", """{"type":"cursor","name":"Three","x":1,"y":1}""");
        await PublishAsync("", "null");
        await PublishAsync("", """{"type":"cursor","id":"two","name":"Two","x":1,"y":1}""");
        await Expect(cursors).ToHaveTextAsync(["One", "Two"]);
    }

    /// <summary>
    /// Opens a page without its content security policy. The policy would block the scripts, and so hide a problem of the page.
    /// </summary>
    Task<DemoPage> OpenWithoutPolicyAsync(string page) => browser.OpenAsync(new(server.Url, page), window: new() { BypassCSP = true });

    static async Task AssertNothingExecutedAsync(DemoPage page)
    {
        await Expect(page.Page.Locator("img[src=x], script:not([src])")).ToHaveCountAsync(0);
        Assert.False(await page.Page.EvaluateAsync<bool>("() => 'hacked' in window"));
    }

    /// <summary>
    /// Uses the markup as the name of a client, and as its message. Returns the connection of the client. Returns null if the client has
    /// sent a request.
    /// </summary>
    async Task<IDisposable?> SendAsync(string page, string markup)
    {
        var name = Uri.EscapeDataString(markup);
        switch (page)
        {
            case "index.html":
                await PublishPriceAsync(markup);
                var visitor = await server.ConnectAsync($"/live?name={name}");
                await visitor.SendBinaryAsync(1, 0, 1, 0);
                return visitor;
            case "chat.html#/rooms/hostile":
                var writer = await server.ConnectAsync($"/rooms/hostile?name={name}");
                await writer.SendTextAsync($"{markup}: {markup}");
                return writer;
            case "prices.html":
                await PublishPriceAsync(markup);
                return null;
            case "board.html":
                var person = await server.ConnectAsync($"/board?name={name}");
                await person.SendBinaryAsync(1, 0, 2, 0);
                return person;
            case "groups.html#markup":
                await PublishAsync("?group=markup", $"{markup}: {markup}");
                return null;
            case "game.html":
                return await server.ConnectAsync($"/game?name={name}");
            case "sensors.html":
                // The URL of a sensor cannot contain the slash of the markup.
                await PublishAsync("?group=/sensors", new SensorReading(markup, 1, 1));
                return null;
            default:
                using (var login = await server.Http.PostAsJsonAsync("/login", new LoginRequest(markup, "demo"), TestContext.Current.CancellationToken))
                {
                    var session = await login.Content.ReadFromJsonAsync<LoginResponse>(TestContext.Current.CancellationToken);
                    var member = await server.ConnectAsync($"/members?access_token={session!.Token}");
                    await member.SendTextAsync(markup);
                    return member;
                }
        }
    }

    /// <summary>Publishes a price. Its symbol is also its key, so the prices do not replace each other.</summary>
    Task PublishPriceAsync(string symbol) => PublishAsync(
        $"?group=/prices&key={Uri.EscapeDataString(symbol)}", new Quote(symbol, "north", 1, 0, DateTimeOffset.UtcNow.ToUnixTimeMilliseconds()));

    Task PublishAsync<T>(string query, T value) => PublishAsync(query, JsonSerializer.Serialize(value, JsonSerializerOptions.Web));

    async Task PublishAsync(string query, string text)
    {
        using var response = await server.Http.PostAsync($"/publish{query}", new StringContent(text), TestContext.Current.CancellationToken);
        response.EnsureSuccessStatusCode();
    }
}
