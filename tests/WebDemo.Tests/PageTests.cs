using System.Collections.Concurrent;
using System.Net.WebSockets;
using Microsoft.Playwright;
using static Microsoft.Playwright.Assertions;

namespace WebDemo.Tests;

[Collection<PageCollection>]
public sealed class PageTests(Demo demo, Chromium chromium) : IClassFixture<Demo>
{
    [Fact]
    public async Task Two_browsers_chat_with_each_other_and_see_how_many_they_are()
    {
        await using var ann = await chromium.OpenAsync(demo, "Ann");
        await using var ben = await chromium.OpenAsync(demo, "Ben");
        await ann.SeesCountAsync(0);
        await ann.ConnectAsync();
        await ben.ConnectAsync();
        await ann.SeesCountAsync(2);
        await ben.SeesCountAsync(2);
        await ann.SayAsync("hello");
        foreach (var visitor in new[] { ann, ben }) await visitor.SeesLastAsync("Ann: hello");
        await ben.SayAsync("hello yourself");
        foreach (var visitor in new[] { ann, ben }) await visitor.SeesLastAsync("Ben: hello yourself");
        await Expect(ann.MessageBox).ToHaveValueAsync("");
    }

    [Fact]
    public async Task The_choice_of_a_room_keeps_rooms_apart()
    {
        await using var ann = await chromium.OpenAsync(demo, "Ann");
        await using var ben = await chromium.OpenAsync(demo, "Ben", "/rooms/green");
        await using var cleo = await chromium.OpenAsync(demo, "Cleo", "/rooms/red");
        await ann.ChooseAsync("/rooms/");
        await ann.Room.FillAsync("red");
        foreach (var visitor in new[] { ann, ben, cleo }) await visitor.ConnectAsync();
        await ann.SeesCountAsync(2);
        await ann.SayAsync("for red");
        await cleo.SeesLastAsync("Ann: for red");
        await ben.SayAsync("for green");
        await ben.SeesLastAsync("Ben: for green");
        await Expect(ben.Messages).ToHaveCountAsync(1);

        // Another choice leads there at once.
        await cleo.Room.FillAsync("green");
        await cleo.Room.PressAsync("Enter");
        await ben.SeesCountAsync(2);
        await ben.SayAsync("welcome");
        await cleo.SeesLastAsync("Ben: welcome");
    }

    [Fact]
    public async Task A_room_may_have_any_name()
    {
        const string Name = "a/b ü? #1 & <i>'%2F";
        await using var ann = await chromium.OpenAsync(demo, "Ann", "/rooms/");
        await ann.Room.FillAsync(Name);
        await ann.ConnectAsync();
        await ann.SeesCountAsync(1);
        // A link leads into the same room, and what the page shows for a terminal does too.
        await using var ben = await chromium.OpenAsync(demo, "Ben", new Uri(ann.Page.Url).Fragment[1..]);
        await Expect(ben.Room).ToHaveValueAsync(Name);
        await ben.ConnectAsync();
        await ann.SeesCountAsync(2);
        var command = await ann.Page.Locator("#curl").InnerTextAsync();
        await demo.Http.PostAsync(command.Split('\'')[1], new StringContent("hello"), TestContext.Current.CancellationToken);
        foreach (var visitor in new[] { ann, ben }) await visitor.SeesLastAsync("hello");
    }

    [Fact]
    public async Task The_seeds_server_answers_to_all()
    {
        await using var ann = await chromium.OpenAsync(demo, "Ann");
        await ann.ChooseAsync("/seed");
        await ann.ConnectAsync();
        await ann.SayAsync("hello");
        await ann.SeesLastAsync("Message: Ann: hello");
    }

    [Fact]
    public async Task Disconnect_ends_the_connection_and_connect_makes_a_new_one()
    {
        await using var ann = await chromium.OpenAsync(demo, "Ann", "/rooms/switch");
        await Expect(ann.State).ToHaveTextAsync("Disconnected");
        await Expect(ann.MessageBox).ToBeDisabledAsync();
        await Expect(ann.MessageBox).ToHaveAccessibleDescriptionAsync("You can write when you are connected.");
        await ann.ConnectAsync();
        await Expect(ann.MessageBox).ToBeFocusedAsync();
        await ann.Disconnect.ClickAsync();
        await Expect(ann.State).ToHaveTextAsync("Disconnected");
        await Expect(ann.MessageBox).ToBeDisabledAsync();
        await ann.SeesCountAsync(0);
        await ann.ConnectAsync();
        await ann.SeesCountAsync(1);
        await ann.SayAsync("back");
        await ann.SeesLastAsync("Ann: back");
    }

    [Fact]
    public async Task Markup_in_a_message_is_shown_as_text_and_bytes_by_their_number()
    {
        const string Markup = "<img src=x onerror=\"document.title='owned'\"><b>bold</b>";
        await using var ann = await chromium.OpenAsync(demo, "Ann", "/rooms/markup");
        await ann.ConnectAsync();
        await ann.SeesCountAsync(1);
        await ann.SayAsync(Markup);
        await ann.SeesLastAsync("Ann: " + Markup);
        using var other = await demo.ConnectAsync("/rooms/markup");
        await other.SendAsync("<i>x</i>: " + Markup);
        await ann.SeesLastAsync("<i>x</i>: " + Markup);
        await Expect(ann.Messages.Locator("img, i")).ToHaveCountAsync(0);
        await Expect(ann.Page).ToHaveTitleAsync("Chat · Broadcast");
        await other.SendAsync(new byte[3], WebSocketMessageType.Binary, true, TestContext.Current.CancellationToken);
        await ann.SeesLastAsync("3 bytes");
    }

    [Fact]
    public async Task The_list_keeps_the_last_500_and_does_not_scroll_away_from_a_reader()
    {
        await using var ann = await chromium.OpenAsync(demo, "Ann", "/rooms/many");
        await ann.ConnectAsync();
        await ann.SeesCountAsync(1);
        using var other = await demo.ConnectAsync("/rooms/many");
        for (var i = 1; i <= 520; i++) await other.SendAsync($"number {i}");
        await ann.SeesLastAsync("number 520");
        await Expect(ann.Messages).ToHaveCountAsync(500);
        await Expect(ann.Messages.Last).ToBeInViewportAsync();
        await ann.Messages.Nth(250).ScrollIntoViewIfNeededAsync();
        await other.SendAsync("one more");
        await ann.SeesLastAsync("one more");
        await Expect(ann.Messages.Last).Not.ToBeInViewportAsync();
        var latest = ann.Page.GetByRole(AriaRole.Button, new() { Name = "New messages" });
        await latest.ClickAsync();
        await Expect(ann.Messages.Last).ToBeInViewportAsync();
        await Expect(latest).ToBeHiddenAsync();
    }

    [Fact]
    public async Task What_the_page_needs_comes_from_this_server_and_all_of_it_is_there()
    {
        var requests = new ConcurrentQueue<IResponse>();
        await using var ann = await chromium.OpenAsync(demo, "Ann");
        ann.Page.Response += (_, response) => requests.Enqueue(response);
        await ann.Page.ReloadAsync();
        await ann.ConnectAsync();
        await ann.SeesCountAsync(1);
        Assert.All(requests, response => Assert.Equal(demo.Url.Authority, new Uri(response.Url).Authority));
        // 304 for what the browser has from before.
        Assert.All(requests, response => Assert.True(response.Status is 200 or 304, $"{response.Status} for {response.Url}"));
        Assert.Contains(requests, response => response.Url.EndsWith("/app.css", StringComparison.Ordinal));
    }

    [Theory]
    [InlineData(390, 844, ColorScheme.Light)]
    [InlineData(320, 568, ColorScheme.Dark)]
    public async Task On_a_phone_everything_fits_the_width(int width, int height, ColorScheme colors)
    {
        await using var ann = await chromium.OpenAsync(demo, "Ann", "/rooms/" + new string('w', 100), new()
        {
            ViewportSize = new() { Width = width, Height = height }, ColorScheme = colors, IsMobile = true, HasTouch = true,
        });
        await FitsAsync();
        await ann.ConnectAsync();
        await ann.SayAsync(new string('m', 300));
        await ann.SeesLastAsync("Ann: " + new string('m', 300));
        await FitsAsync();

        async Task FitsAsync()
        {
            // Not only the page: nothing in it reaches out of the window either.
            var widest = await ann.Page.EvaluateAsync<double>("""
                () => Math.max(document.documentElement.scrollWidth, document.getElementById("log").scrollWidth,
                  ...[...document.querySelectorAll("input:not([type=radio]), button, .bubble, .note, header, label")].map(element => element.getBoundingClientRect().right))
                """);
            Assert.InRange(widest, 1, width);
        }
    }
}
