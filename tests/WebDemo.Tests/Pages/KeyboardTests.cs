using Microsoft.Playwright;
using static Microsoft.Playwright.Assertions;

namespace WebDemo.Tests;

/// <summary>Uses the pages only with the keyboard. <see cref="BoardPageTests"/> and <see cref="PricesPageTests"/> test their pages.</summary>
[Trait("Run", "More")]
[Collection<PageCollection>]
public sealed class KeyboardTests(DemoServer server, BrowserFixture browser)
{
    [Fact]
    public async Task Chat_OnlyKeyboard_ConnectsSendsAndDisconnects()
    {
        await using var ann = await browser.OpenChatAsync(server, "Ann", "/rooms/keyboard");
        await PressAsync(ann, ann.Connect, "Enter");
        await ann.ExpectStateAsync("Connected");
        await TypeAsync(ann, ann.MessageBox, "hello");
        await ann.Page.Keyboard.PressAsync("Enter");
        await ann.ExpectLastMessageAsync("Ann: hello");
        await TypeAsync(ann, ann.MessageBox, "again");
        await PressAsync(ann, ann.Send, "Space");
        await ann.ExpectLastMessageAsync("Ann: again");
        await PressAsync(ann, ann.GetButton("Pull the plug"), "Enter");
        await ann.ExpectLastMessageAsync("Server: message 5 while you were away");
        await PressAsync(ann, ann.Disconnect, "Space");
        await ann.ExpectStateAsync("Disconnected");
    }

    [Fact]
    public async Task Groups_OnlyKeyboard_JoinsSendsAndLeaves()
    {
        await using var ann = await browser.OpenAsync(new(server.Url, "/groups.html#first"), "Ann");
        await Expect(ann.Path).ToHaveTextAsync("first");
        await TypeAsync(ann, ann.Page.GetByLabel("Group to join"), "second");
        await PressAsync(ann, ann.GetButton("Join"), "Space");
        await Expect(ann.Path).ToHaveTextAsync("second");
        await TypeAsync(ann, ann.MessageBox, "hello");
        await PressAsync(ann, ann.Send, "Enter");
        await ann.ExpectLastMessageAsync("Ann: hello");
        await PressAsync(ann, ann.GetButton("Leave second"), "Enter");
        await Expect(ann.Path).ToHaveTextAsync("first");
    }

    [Fact]
    public async Task Game_OnlyKeyboard_MovesOwnPlayer()
    {
        // The game may still contain Ann and Ben, the players of other tests.
        await using var kim = await browser.OpenAsync(new(server.Url, "/game.html"), "Kim");
        await kim.ExpectStateAsync("Connected");
        using var lou = await server.ConnectAsync("/game?name=Lou");
        var names = await lou.ReceiveNamesAsync();
        while (!names.ContainsValue("Kim") || !names.ContainsValue("Lou")) names = await lou.ReceiveNamesAsync();
        var (kimNumber, louNumber) = (GetNumber("Kim"), GetNumber("Lou"));

        await kim.TabToAsync(kim.Page.Locator("#field"));
        var keyboard = kim.Page.Keyboard;
        foreach (var key in new[] { "ArrowLeft", "ArrowUp" }) await keyboard.DownAsync(key);
        var before = await lou.ReceiveStateUntilAsync(state => state[kimNumber] == (0, 0));
        foreach (var key in new[] { "ArrowLeft", "ArrowUp" }) await keyboard.UpAsync(key);
        // The player moves only if the page has noticed that the first keys are up.
        foreach (var key in new[] { "ArrowRight", "ArrowDown" }) await keyboard.DownAsync(key);
        var after = await lou.ReceiveStateUntilAsync(state => state[kimNumber] is (> 0, > 0));
        Assert.Equal(before[louNumber], after[louNumber]);

        ushort GetNumber(string name) => names.Single(player => player.Value == name).Key;
    }

    [Fact]
    public async Task Sensors_OnlyKeyboard_SendsReading()
    {
        await using var ann = await browser.OpenAsync(new(server.Url, "/sensors.html"));
        await ann.ExpectStateAsync("Connected");
        await PressAsync(ann, ann.Page.GetByRole(AriaRole.Slider, new() { Name = "Level" }), "ArrowRight");
        await Expect(ann.Page.Locator("#sensors li").Filter(new() { HasText = "slider" }).Locator("b")).ToHaveTextAsync("51");
    }

    [Fact]
    public async Task Load_OnlyKeyboard_StartsAndStopsClients()
    {
        await using var ann = await browser.OpenAsync(new(server.Url, "/load.html"));
        await ann.ExpectStateAsync("Connected");
        // A number field selects its value when it gets the focus by Tab, so the new number replaces the value.
        await TypeAsync(ann, ann.Page.GetByRole(AriaRole.Spinbutton, new() { Name = "Clients" }), "3");
        await PressAsync(ann, ann.GetButton("Start"), "Space");
        await Expect(ann.Page.Locator("#open")).ToHaveTextAsync("3");
        await PressAsync(ann, ann.GetButton("Stop"), "Enter");
        await Expect(ann.Page.Locator("#open")).ToHaveTextAsync("0");
    }

    [Fact]
    public async Task MembersPage_OnlyKeyboard_SupportsLoginRenewalPublishAndLogout()
    {
        await using var ann = await browser.OpenAsync(new(server.Url, "/members.html"));
        await ann.ExpectLoginPageAsync();
        await TypeAsync(ann, ann.Name, "Ann");
        await TypeAsync(ann, ann.Page.GetByLabel("Password"), "demo");
        await PressAsync(ann, ann.GetButton("Log in"), "Space");
        await ann.ExpectStateAsync("Connected");
        await Expect(ann.GetButton("Renew")).ToBeEnabledAsync();
        await PressAsync(ann, ann.GetButton("Renew"), "Enter");
        await Expect(ann.Notes.Last).ToHaveTextAsync("Renewed without a reconnect");
        await TypeAsync(ann, ann.MessageBox, "hello");
        await PressAsync(ann, ann.Send, "Enter");
        await ann.ExpectLastMessageAsync("Ann: hello");
        await PressAsync(ann, ann.GetButton("Log out"), "Space");
        await Expect(ann.Page.GetByLabel("Password")).ToBeVisibleAsync();
    }

    /// <summary>Moves the focus to a control with Tab, and presses a key.</summary>
    static async Task PressAsync(DemoPage page, ILocator control, string key)
    {
        await page.TabToAsync(control);
        await page.Page.Keyboard.PressAsync(key);
    }

    /// <summary>Moves the focus to a field with Tab, and types a text.</summary>
    static async Task TypeAsync(DemoPage page, ILocator field, string text)
    {
        await page.TabToAsync(field);
        await page.Page.Keyboard.TypeAsync(text);
    }
}
