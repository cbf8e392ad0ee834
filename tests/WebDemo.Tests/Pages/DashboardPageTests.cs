using System.Collections.Concurrent;
using System.Net.Http.Json;
using System.Net.WebSockets;
using System.Reflection;
using System.Text.Json;
using System.Text.RegularExpressions;
using Microsoft.Playwright;
using static Microsoft.Playwright.Assertions;

namespace WebDemo.Tests;

/// <summary>Tests the page of the dashboard in a browser.</summary>
[Trait("Run", "More")]
public sealed class DashboardPageTests(DashboardPageTests.DevelopmentServer development, BrowserFixture browser)
    : IClassFixture<DashboardPageTests.DevelopmentServer>
{
    // This text has no slash, because the group name comes from the path of a URL. In this path, a slash would stay encoded.
    const string Hostile =
        """'"><img src=x onerror="window.executed=true"><svg onload="window.executed=true"><script>window.executed=true""";

    // The demo accepts user names of at most 32 characters.
    const string HostileUser = "<img src=x onerror=executed=1>";

    static readonly string NpmFolder = typeof(DashboardPageTests).Assembly.GetCustomAttributes<AssemblyMetadataAttribute>()
        .Single(static attribute => attribute.Key == "NpmFolder").Value!;

    DemoServer Server => development.Server!;

    [Fact]
    public async Task Page_HostileGroupUserKeyAndMessage_ShowsTextAndExecutesNothing()
    {
        var (group, path) = ($"/rooms/{Hostile}", $"/rooms/{Uri.EscapeDataString(Hostile)}");
        using var client = await ConnectAsync(HostileUser, path);
        using var response = await Server.Http.PostAsync(
            $"/publish?group={Uri.EscapeDataString(group)}&key={Uri.EscapeDataString(Hostile)}", new StringContent(Hostile), TestContext.Current.CancellationToken);
        response.EnsureSuccessStatusCode();
        // The content security policy would block the scripts. This test tests the page without this second protection.
        await using var page = await OpenAsync(window: new() { BypassCSP = true });
        await page.Page.GetByRole(AriaRole.Searchbox, new() { Name = "Search" }).FillAsync("onerror");
        await page.Page.Locator("#groups .open").Filter(new() { HasText = "onerror" }).ClickAsync();
        await Expect(page.Page.Locator("#group-title")).ToHaveTextAsync(group);
        await Expect(page.Page.Locator("#messages pre").First).ToHaveTextAsync(Hostile);
        await Expect(page.Page.Locator("#messages small").First).ToContainTextAsync($"key {Hostile}");
        await Expect(page.Page.Locator("#members li span")).ToHaveTextAsync([HostileUser]);
        await page.Page.GetByLabel("Text").FillAsync(Hostile);
        await page.Page.GetByRole(AriaRole.Button, new() { Name = "Publish", Exact = true }).ClickAsync();
        await Expect(page.Page.Locator("#publish output")).ToHaveTextAsync("Published to 1 connection of this node.");
        Assert.False(await page.Page.EvaluateAsync<bool>("'executed' in window"));
        // The page itself has one image and one script, and no SVG element outside its plots.
        var counts = await page.Page.EvaluateAsync<int[]>("['img', 'script', 'section li svg'].map(name => document.querySelectorAll(name).length)");
        Assert.Equal([1, 1, 0], counts);
    }

    [Fact]
    public async Task Page_OnlyKeyboard_PublishesAndClosesConnection()
    {
        using var client = await Server.ConnectAsync("/rooms/keyboard");
        await client.SendTextAsync("ready");
        await client.ReceiveMessageAsync();
        await using var page = await OpenAsync();
        var (ui, keyboard) = (page.Page, page.Page.Keyboard);

        // Press no key before the list contains the group: the list could otherwise change while the focus moves.
        await Expect(ui.Locator("#groups .open").Filter(new() { HasText = "/rooms/keyboard" })).ToBeVisibleAsync();
        await PressTabUntilAsync(ui, "#search");
        await keyboard.TypeAsync("keyboard");
        await Expect(ui.Locator("#groups li")).ToHaveCountAsync(2);
        await PressTabUntilAsync(ui, "#groups li:nth-child(2) .open");
        await keyboard.PressAsync("Enter");
        await Expect(ui.Locator("#group-title")).ToHaveTextAsync("/rooms/keyboard");
        await Expect(ui.Locator("#messages pre").First).ToHaveTextAsync(new Regex("ready"));

        // The form already contains the name of the selected group.
        await PressTabUntilAsync(ui, "#text");
        await keyboard.TypeAsync("hello");
        await PressTabUntilAsync(ui, "#publish button");
        await keyboard.PressAsync("Enter");
        Assert.Equal("hello", await client.ReceiveTextAsync());
        await Expect(ui.Locator("#publish output")).ToHaveTextAsync("Published to 1 connection of this node.");

        await PressTabUntilAsync(ui, "#members button");
        await keyboard.PressAsync("Enter");
        await Expect(ui.Locator("#connection")).ToBeFocusedAsync();
        await PressTabUntilAsync(ui, "#close button");
        await keyboard.PressAsync("Enter");
        await client.AssertClosedAsync(WebSocketCloseStatus.NormalClosure);
        await Expect(ui.Locator("#close output")).ToHaveTextAsync(new Regex("is closing with close code 1000"));

        // The server answers with a problem, and the page shows this problem.
        await keyboard.PressAsync("Enter");
        await Expect(ui.Locator("#close output")).ToHaveTextAsync(new Regex("^No connection has this ID|is closing"));
    }

    [Fact]
    public async Task Plots_ClientsConnect_ShowNumberOfConnections()
    {
        await using var server = await DemoServer.CreateAsync("--environment=Development", "--Prices=false");
        await using var page = await OpenAsync(server);
        var plot = page.Page.GetByRole(AriaRole.Img, new() { NameRegex = new("^Connections: now 1\\.") });
        using (await server.ConnectAsync("/ws")) await Expect(plot).ToBeVisibleAsync();

        await server.KillAsync();
        await Expect(page.Page.Locator("#state")).ToHaveTextAsync("Reconnecting");
        await server.StartAsync("--environment=Development", "--Prices=false");
        await Expect(page.Page.Locator("#state")).ToHaveTextAsync("Connected");
    }

    [Fact]
    public async Task Refresh_ServerDoesNotAnswer_SendsNoMoreRequests()
    {
        await using var page = await browser.OpenAsync(Server.Url);
        await page.Page.Clock.InstallAsync();
        // The page under test loads after the clock and the route are in place.
        var (held, isHolding) = (new List<(IWebSocketRoute Page, int Id)>(), true);
        var types = new ConcurrentQueue<string?>();
        await page.Page.RouteWebSocketAsync(new Regex("/ws$"), route =>
        {
            var server = route.ConnectToServer();
            route.OnMessage(frame =>
            {
                var request = JsonDocument.Parse(frame.Text!).RootElement;
                var type = request.GetProperty("type").GetString();
                types.Enqueue(type);
                if (isHolding && type == "nodes") held.Add((route, request.GetProperty("id").GetInt32()));
                else server.Send(frame.Text!);
            });
        });
        await page.Page.GotoAsync(new Uri(Server.Url, "/broadcast").AbsoluteUri);
        await Expect(page.Page.Locator("#state")).ToHaveTextAsync("Connected");
        await page.Page.Clock.RunForAsync(60_000);
        Assert.Single(held);
        // The next refresh must not start before the test has seen the problem.
        await page.Page.Clock.PauseAtAsync(DateTime.UtcNow.AddMinutes(2));

        // The server answers again: first with a problem, and then with the nodes.
        isHolding = false;
        held[0].Page.Send(JsonSerializer.Serialize(new { id = held[0].Id, type = "problem", text = "Redis is down." }));
        await Expect(page.Page.Locator("#nodes-note")).ToHaveTextAsync("Redis is down.");
        // The page skips a refresh while the server still answers the other requests. So the page may need several intervals.
        await page.Page.Clock.ResumeAsync();
        await Expect(page.Page.Locator("#nodes-note")).ToHaveTextAsync("");
        await Expect(page.Page.Locator("#nodes li")).ToHaveCountAsync(1);

        // The page requests members and messages only after the user has selected a group.
        Assert.DoesNotContain("group", types);
        await page.Page.Locator("#groups .open").Filter(new() { HasText = "All connections" }).ClickAsync();
        await Expect(page.Page.Locator("#group-content")).ToBeVisibleAsync();
        Assert.Contains("group", types);
    }

    [Theory]
    [InlineData(1280, ColorScheme.Light)]
    [InlineData(1280, ColorScheme.Dark)]
    [InlineData(390, ColorScheme.Light)]
    [InlineData(320, ColorScheme.Dark)]
    public async Task Page_EachWidthAndColorScheme_FitsWindowAndHasNoAxeViolation(int width, ColorScheme colors)
    {
        var group = $"/rooms/{new string('w', 120)}-{width}-{colors}";
        using var client = await Server.ConnectAsync(group);
        await client.SendTextAsync(string.Concat(Enumerable.Repeat("A long message. ", 200)));
        await client.ReceiveMessageAsync();
        await using var page = await OpenAsync(window: new()
        {
            ViewportSize = new() { Width = width, Height = 800 }, ColorScheme = colors, IsMobile = width < 700, HasTouch = width < 700,
        });
        await page.Page.Locator("#groups .open").Filter(new() { HasText = $"-{width}-{colors}" }).ClickAsync();
        await Expect(page.Page.Locator("#messages pre")).ToHaveCountAsync(1);
        var widest = await page.Page.EvaluateAsync<double>("""
            () => Math.max(document.documentElement.scrollWidth,
              ...[...document.querySelectorAll("section, section *:not(svg *)")].map(element => element.getBoundingClientRect().right))
            """);
        Assert.InRange(widest, 1, width);

        var axe = Path.Combine(NpmFolder, "node_modules", "axe-core", "axe.min.js");
        Assert.SkipUnless(File.Exists(axe), $"{axe} does not exist. Run npm ci in {NpmFolder}.");
        await page.Page.EvaluateAsync(await File.ReadAllTextAsync(axe, TestContext.Current.CancellationToken));
        var problems = await page.Page.EvaluateAsync<JsonElement>("""
            async () => (await axe.run()).violations.flatMap(({ id, help, nodes }) => nodes.map(({ html }) => `${id}: ${help}: ${html}`))
            """);
        Assert.Empty(problems.EnumerateArray().Select(static problem => problem.GetString()));
    }

    /// <summary>Logs in, and connects with the token of the user.</summary>
    async Task<ClientWebSocket> ConnectAsync(string user, string path)
    {
        using var login = await Server.Http.PostAsJsonAsync("/login", new LoginRequest(user, "demo"), TestContext.Current.CancellationToken);
        var session = await login.Content.ReadFromJsonAsync<LoginResponse>(TestContext.Current.CancellationToken);
        var client = new ClientWebSocket();
        client.Options.SetRequestHeader("Authorization", $"Bearer {session!.Token}");
        await client.ConnectAsync(Server.GetWebSocketUrl(path), TestContext.Current.CancellationToken);
        return client;
    }

    async Task<DemoPage> OpenAsync(DemoServer? server = null, BrowserNewContextOptions? window = null)
    {
        var page = await browser.OpenAsync(new((server ?? Server).Url, "/broadcast"), window: window);
        await Expect(page.Page.Locator("#state")).ToHaveTextAsync("Connected");
        // Wait until the first answers of the server have filled the lists.
        await Expect(page.Page.Locator("#nodes li")).ToHaveCountAsync(1);
        await Expect(page.Page.Locator("#groups li").First).ToBeVisibleAsync();
        return page;
    }

    /// <summary>Presses Tab until an element has the focus, and asserts that a user can see the focus.</summary>
    static async Task PressTabUntilAsync(IPage page, string selector)
    {
        var element = page.Locator(selector).First;
        for (var i = 0; i < 200; i++)
        {
            await page.Keyboard.PressAsync("Tab");
            if (!await element.EvaluateAsync<bool>("element => element === document.activeElement")) continue;
            Assert.Equal("solid", await element.EvaluateAsync<string>("element => getComputedStyle(element).outlineStyle"));
            return;
        }

        Assert.Fail($"The key Tab does not reach {selector}.");
    }

    /// <summary>
    /// A demo in the environment Development. In this environment, requests from the same computer need no authorization.
    /// </summary>
    public sealed class DevelopmentServer : IAsyncLifetime
    {
        public DemoServer? Server { get; private set; }

        public async ValueTask InitializeAsync() => Server = await DemoServer.CreateAsync("--environment=Development", "--Prices=false");

        public ValueTask DisposeAsync() => Server?.DisposeAsync() ?? default;
    }
}
