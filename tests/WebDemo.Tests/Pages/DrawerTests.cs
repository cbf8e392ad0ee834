using Microsoft.Playwright;
using static Microsoft.Playwright.Assertions;

namespace WebDemo.Tests;

/// <summary>Tests the drawer of each page, which shows the code of the page and its frames.</summary>
[Trait("Run", "More")]
public sealed class DrawerTests(DemoServer server, BrowserFixture browser)
{
    const int MaxCodeLines = 60, MaxShownLines = 15;

    /// <summary>The C# files of each page. The start page also shows prices of the prices page.</summary>
    static readonly Dictionary<string, string[]> PageFiles = new()
    {
        ["start"] = ["StartPage.cs", "DeliveryMeter.cs"],
        ["prices"] = ["Prices.cs", "Quote.cs"],
        ["chat"] = ["RoomStatistics.cs", "Typing.cs"],
        ["board"] = ["Board.cs"],
        ["groups"] = ["DemoGroupAuthorizer.cs"],
        ["game"] = ["Game.cs"],
        ["sensors"] = ["Sensors.cs"],
        ["members"] = ["Members.cs"],
        ["load"] = ["Load.cs"],
    };

    /// <summary>At least two pages use each of these files.</summary>
    static readonly string[] SharedFiles =
        ["ConnectionIdFilter.cs", "CursorFilter.cs", "DisplayName.cs", "DisplayNameFilter.cs", "Latencies.cs", "LocalBroadcast.cs", "ServerAddress.cs"];

    /// <summary>
    /// These files belong to the whole app: the HTTP endpoints of Program.cs, the JSON types, the telemetry, and the link for a phone.
    /// </summary>
    static readonly string[] AppFiles = ["DemoJson.cs", "DemoMessages.cs", "PhoneLink.cs", "PublishEndpoint.cs", "Telemetry.cs"];

    public static TheoryData<string> Pages => [.. DemoSource.Pages];

    [Theory]
    [MemberData(nameof(Pages))]
    public async Task Drawer_OpenedByKeyboard_ShowsRealSourceAndFrames(string page)
    {
        await using var ann = await browser.OpenAsync(new(server.Url, page));
        // Without a token, the members page redirects to the login page. The login page has no WebSocket.
        var shown = page == "members.html" ? "login.html" : page;
        if (page != shown) await ann.Page.WaitForURLAsync($"**/{shown}");
        var button = ann.Page.GetByRole(AriaRole.Button, new() { Name = "Code and frames of this page" });
        var drawer = ann.Page.GetByRole(AriaRole.Complementary, new() { Name = "Behind this page" });
        await button.FocusAsync();
        await ann.Page.Keyboard.PressAsync("Enter");

        await Expect(drawer).ToBeVisibleAsync();
        await Expect(button).ToHaveAttributeAsync("aria-expanded", "true");
        foreach (var side in new[] { "server", "client" }) await AssertShowsSourceAsync(drawer, shown, side);
        if (page == "game.html") await ann.Page.Locator("#field").PressAsync("ArrowLeft");
        if (page is "index.html" or "prices.html" or "board.html" or "groups.html" or "game.html")
            await Expect(drawer.GetByRole(AriaRole.List).GetByRole(AriaRole.Listitem).First).ToBeVisibleAsync();

        await ann.Page.Keyboard.PressAsync("Escape");
        await Expect(drawer).ToBeHiddenAsync();
        if (page != "game.html") await Expect(button).ToBeFocusedAsync();
    }

    [Theory]
    [MemberData(nameof(Pages))]
    public void ShownSource_EachPage_IsShort(string page)
    {
        foreach (var side in new[] { "server", "client" }) Assert.InRange(DemoSource.GetShownLines(page, side).Length, 5, MaxShownLines);
    }

    [Fact]
    public void CodeFile_ExceptProgram_HasAtMost60Lines() =>
        Assert.All(DemoSource.CodeFiles, static path => Assert.InRange(DemoSource.CountCodeLines(path), 1, MaxCodeLines));

    [Fact]
    public void CodeFiles_OfOnePage_HaveAtMost60LinesInTotal() =>
        Assert.All(PageFiles.Values, static files => Assert.InRange(files.Sum(static file => DemoSource.CountCodeLines(DemoSource.Find(file))), 1, MaxCodeLines));

    [Fact]
    public void CodeFile_ExceptProgram_BelongsToOnePageOrIsShared()
    {
        var known = PageFiles.Values.SelectMany(static files => files).Concat(SharedFiles).Concat(AppFiles);
        var actual = DemoSource.CodeFiles.Select(static path => Path.GetFileName(path));
        Assert.Equal(actual.Order(StringComparer.Ordinal), known.Order(StringComparer.Ordinal));
    }

    /// <summary>Program.cs counts as a page, because it contains the chat rooms. PhoneLink.cs has the link for a phone.</summary>
    [Fact]
    public void SharedFile_EachFile_IsUsedByTwoPages() => Assert.All(SharedFiles, static file =>
    {
        var users = PageFiles.Values.Append(["Program.cs"]).Append(["PhoneLink.cs"]).Count(files => files.Any(user => DemoSource.UsesTypeOf(user, file)));
        Assert.InRange(users, 2, int.MaxValue);
    });

    static async Task AssertShowsSourceAsync(ILocator drawer, string page, string side)
    {
        var code = drawer.GetByRole(AriaRole.Region, new() { Name = side, Exact = false }).Locator("code");
        await Expect(code).Not.ToBeEmptyAsync();
        var lines = (await code.InnerTextAsync()).Split('\n').Select(static line => line.Trim()).Where(static line => line != "");
        Assert.Equal(DemoSource.GetShownLines(page, side), lines);
    }
}
