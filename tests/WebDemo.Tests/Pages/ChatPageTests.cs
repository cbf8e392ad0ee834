using System.Collections.Concurrent;
using Microsoft.Playwright;
using static Microsoft.Playwright.Assertions;

namespace WebDemo.Tests;

/// <summary>
/// Tests the chat page at /ws, at /seed and in rooms. No other class uses /ws at the same time, so the class can count the
/// connections of /ws.
/// </summary>
[Collection<WsCollection>]
public sealed class ChatPageTests(DemoServer server, BrowserFixture browser)
{
    [Fact]
    public async Task Chat_TwoPages_ShowMessagesAndConnectionCount()
    {
        await using var ann = await browser.OpenChatAsync(server, "Ann");
        await using var ben = await browser.OpenChatAsync(server, "Ben");
        await ann.ExpectCountAsync(0);
        await ann.ConnectAsync();
        await ben.ConnectAsync();
        await ann.ExpectCountAsync(2);
        await ben.ExpectCountAsync(2);
        await ann.SendAsync("hello");
        foreach (var page in new[] { ann, ben }) await page.ExpectLastMessageAsync("Ann: hello");
        await ben.SendAsync("hello yourself");
        foreach (var page in new[] { ann, ben }) await page.ExpectLastMessageAsync("Ben: hello yourself");
        await Expect(ann.MessageBox).ToHaveValueAsync("");
    }

    [Fact]
    public async Task SelectRoom_OtherRoom_ShowsOnlyMessagesOfThatRoom()
    {
        await using var ann = await browser.OpenChatAsync(server, "Ann");
        await using var ben = await browser.OpenChatAsync(server, "Ben", "/rooms/green");
        await using var cleo = await browser.OpenChatAsync(server, "Cleo", "/rooms/red");
        await ann.SelectUrlAsync("/rooms/");
        await ann.Room.FillAsync("red");
        foreach (var page in new[] { ann, ben, cleo }) await page.ConnectAsync();
        await ann.ExpectCountAsync(2);
        await ann.SendAsync("for red");
        await cleo.ExpectLastMessageAsync("Ann: for red");
        await ben.SendAsync("for green");
        await ben.ExpectLastMessageAsync("Ben: for green");
        await Expect(ben.Messages).ToHaveCountAsync(1);

        // When the user enters a new room name, the page connects to that room immediately.
        await cleo.Room.FillAsync("green");
        await cleo.Room.PressAsync("Enter");
        await ben.ExpectCountAsync(2);
        await ben.SendAsync("welcome");
        await cleo.ExpectLastMessageAsync("Ben: welcome");
    }

    [Fact]
    public async Task SelectRoom_NameWithSpecialCharacters_LinkAndCommandLeadToRoom()
    {
        const string Name = "a/b ü? #1 & <i>'%2F";
        await using var ann = await browser.OpenChatAsync(server, "Ann", "/rooms/");
        await ann.Room.FillAsync(Name);
        await ann.ConnectAsync();
        await ann.ExpectCountAsync(1);
        // The link and the terminal command lead to the same room.
        await using var ben = await browser.OpenChatAsync(server, "Ben", new Uri(ann.Page.Url).Fragment[1..]);
        await Expect(ben.Room).ToHaveValueAsync(Name);
        await ben.ConnectAsync();
        await ann.ExpectCountAsync(2);
        await server.Http.PostAsync(await ann.GetCommandUrlAsync(), new StringContent("hello"), TestContext.Current.CancellationToken);
        foreach (var page in new[] { ann, ben }) await page.ExpectLastMessageAsync("hello");
    }

    [Fact]
    public async Task Chat_SeedUrl_ShowsMessageWithPrefix()
    {
        await using var ann = await browser.OpenChatAsync(server, "Ann");
        await ann.SelectUrlAsync("/seed");
        await ann.ConnectAsync();
        await ann.SendAsync("hello");
        await ann.ExpectLastMessageAsync("Message: Ann: hello");
    }

    [Fact]
    public async Task Disconnect_ThenConnect_OpensNewConnection()
    {
        await using var ann = await browser.OpenChatAsync(server, "Ann", "/rooms/switch");
        await ann.ExpectStateAsync("Disconnected");
        await Expect(ann.MessageBox).ToBeDisabledAsync();
        await Expect(ann.MessageBox).ToHaveAccessibleDescriptionAsync("You can write when you are connected.");
        await ann.ConnectAsync();
        await Expect(ann.MessageBox).ToBeFocusedAsync();
        await ann.Disconnect.ClickAsync();
        await ann.ExpectStateAsync("Disconnected");
        await Expect(ann.MessageBox).ToBeDisabledAsync();
        await ann.ExpectCountAsync(0);
        await ann.ConnectAsync();
        await ann.ExpectCountAsync(1);
        await ann.SendAsync("back");
        await ann.ExpectLastMessageAsync("Ann: back");
    }

    [Fact]
    public async Task Message_MarkupOrBinary_IsShownAsTextOrSize()
    {
        const string Markup = "<img src=x onerror=\"document.title='owned'\"><b>bold</b>";
        await using var ann = await browser.OpenChatAsync(server, "Ann", "/rooms/markup");
        await ann.ConnectAsync();
        await ann.ExpectCountAsync(1);
        await ann.SendAsync(Markup);
        await ann.ExpectLastMessageAsync("Ann: " + Markup);
        using var other = await server.ConnectAsync("/rooms/markup");
        await other.SendTextAsync("<i>x</i>: " + Markup);
        await ann.ExpectLastMessageAsync("<i>x</i>: " + Markup);
        await Expect(ann.Messages.Locator("img, i")).ToHaveCountAsync(0);
        await Expect(ann.Page).ToHaveTitleAsync("Chat · Broadcast");
        await other.SendBinaryAsync(0, 0, 0);
        await ann.ExpectLastMessageAsync("3 bytes");
    }

    [Fact]
    public async Task MessageList_ManyMessages_KeepsLast500MessagesAndScrollPosition()
    {
        await using var ann = await browser.OpenChatAsync(server, "Ann", "/rooms/many");
        await ann.ConnectAsync();
        await ann.ExpectCountAsync(1);
        using var other = await server.ConnectAsync("/rooms/many");
        for (var i = 1; i <= 520; i++) await other.SendTextAsync($"number {i}");
        await ann.ExpectLastMessageAsync("number 520");
        await Expect(ann.Messages).ToHaveCountAsync(500);
        await Expect(ann.Messages.Last).ToBeInViewportAsync();
        await ann.Messages.Nth(250).ScrollIntoViewIfNeededAsync();
        await other.SendTextAsync("one more");
        await ann.ExpectLastMessageAsync("one more");
        await Expect(ann.Messages.Last).Not.ToBeInViewportAsync();
        var latest = ann.Page.GetByRole(AriaRole.Button, new() { Name = "New messages" });
        await latest.ClickAsync();
        await Expect(ann.Messages.Last).ToBeInViewportAsync();
        await Expect(latest).ToBeHiddenAsync();
    }

    [Fact]
    public async Task MessageList_DrawerOpens_KeepsNewestMessageVisible()
    {
        await using var ann = await browser.OpenChatAsync(server, "Ann", "/rooms/drawer");
        await ann.ConnectAsync();
        using var other = await server.ConnectAsync("/rooms/drawer");
        for (var i = 1; i <= 20; i++) await other.SendTextAsync($"number {i}");
        await ann.ExpectLastMessageAsync("number 20");
        await Expect(ann.Messages.Last).ToBeInViewportAsync();
        await ann.Page.GetByRole(AriaRole.Button, new() { Name = "Code and frames of this page" }).ClickAsync();
        await Expect(ann.Messages.First).Not.ToBeInViewportAsync();
        await Expect(ann.Messages.Last).ToBeInViewportAsync();
    }

    [Fact]
    public async Task Page_Reload_LoadsAllFilesFromOwnServer()
    {
        var requests = new ConcurrentQueue<IResponse>();
        await using var ann = await browser.OpenChatAsync(server, "Ann");
        ann.Page.Response += (_, response) => requests.Enqueue(response);
        await ann.Page.ReloadAsync();
        await ann.ConnectAsync();
        await ann.ExpectCountAsync(1);
        Assert.All(requests, response => Assert.Equal(server.Url.Authority, new Uri(response.Url).Authority));
        // The server answers 304 for files in the browser cache.
        Assert.All(requests, response => Assert.True(response.Status is 200 or 304, $"{response.Status} for {response.Url}"));
        Assert.Contains(requests, response => response.Url.EndsWith("/app.css", StringComparison.Ordinal));
    }

    [Theory]
    [InlineData(390, 844, ColorScheme.Light)]
    [InlineData(320, 568, ColorScheme.Dark)]
    public async Task Page_OnPhone_FitsScreenWidth(int width, int height, ColorScheme colors)
    {
        await using var ann = await browser.OpenChatAsync(server, "Ann", "/rooms/" + new string('w', 100), new()
        {
            ViewportSize = new() { Width = width, Height = height }, ColorScheme = colors, IsMobile = true, HasTouch = true,
        });
        await AssertFitsAsync();
        await ann.ConnectAsync();
        await ann.SendAsync(new string('m', 300));
        await ann.ExpectLastMessageAsync("Ann: " + new string('m', 300));
        await AssertFitsAsync();

        async Task AssertFitsAsync()
        {
            // Elements can be wider than the window, even if the document is not. So check the document and the elements.
            var widest = await ann.Page.EvaluateAsync<double>("""
                () => Math.max(document.documentElement.scrollWidth, document.getElementById("log").scrollWidth,
                  ...[...document.querySelectorAll("input:not([type=radio]), button, .bubble, .note, header, label")].map(element => element.getBoundingClientRect().right))
                """);
            Assert.InRange(widest, 1, width);
        }
    }
}
