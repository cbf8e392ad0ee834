using System.Net.WebSockets;
using System.Text.RegularExpressions;
using Microsoft.Playwright;
using static Microsoft.Playwright.Assertions;

namespace WebDemo.Tests;

[Collection<PageCollection>]
public sealed class RoomTests(Demo demo, Chromium chromium) : IClassFixture<Demo>
{
    [Fact]
    public async Task Who_comes_later_sees_exactly_the_last_50_and_then_what_is_said()
    {
        await using var ann = await chromium.OpenAsync(demo, "Ann", "/rooms/memory");
        await using var ben = await chromium.OpenAsync(demo, "Ben", "/rooms/memory");
        await ann.ConnectAsync();
        await ben.ConnectAsync();
        using var other = await demo.ConnectAsync("/rooms/memory");
        for (var i = 1; i <= 60; i++) await other.SendAsync($"number {i}");
        await ann.SeesLastAsync("number 60");
        await ann.SayAsync("hello");
        await ben.SeesLastAsync("Ann: hello");
        await ben.SayAsync("hello yourself");
        await ann.SeesLastAsync("Ben: hello yourself");

        await using var cleo = await chromium.OpenAsync(demo, "Cleo", "/rooms/memory");
        await cleo.ConnectAsync();
        string[] kept = [.. Enumerable.Range(13, 48).Select(number => $"number {number}"), "Ann: hello", "Ben: hello yourself"];
        await Expect(cleo.Bubbles).ToHaveTextAsync(kept);
        await ann.SayAsync("welcome");
        await cleo.SayAsync("thank you");
        foreach (var visitor in new[] { ann, ben }) await visitor.SeesLastAsync("Cleo: thank you");
        await Expect(cleo.Bubbles).ToHaveTextAsync([.. kept, "Ann: welcome", "Cleo: thank you"]);
        // When the others were said, the page does not know.
        await Expect(cleo.Messages.GetByRole(AriaRole.Time)).ToHaveCountAsync(2);
    }

    [Fact]
    public async Task A_room_remembers_also_when_the_last_has_left()
    {
        await using (var ann = await chromium.OpenAsync(demo, "Ann", "/rooms/deserted"))
        {
            await ann.ConnectAsync();
            await ann.SayAsync("is anybody here?");
            await ann.SeesLastAsync("Ann: is anybody here?");
        }

        await demo.WaitForCountAsync("/rooms/deserted", 0);
        await using var ben = await chromium.OpenAsync(demo, "Ben", "/rooms/deserted");
        await ben.ConnectAsync();
        await ben.SeesLastAsync("Ann: is anybody here?");
    }

    [Fact]
    public async Task Who_comes_back_sees_nothing_twice_and_what_was_said_meanwhile()
    {
        await using var ann = await chromium.OpenAsync(demo, "Ann", "/rooms/again");
        using var other = await demo.ConnectAsync("/rooms/again");
        await ann.ConnectAsync();
        await ann.SayAsync("one");
        await ann.SayAsync("two");
        await ann.SeesLastAsync("Ann: two");
        await ann.Disconnect.ClickAsync();
        await demo.WaitForCountAsync("/rooms/again", 1);
        await other.SendAsync("three");
        await ann.ConnectAsync();
        await ann.SayAsync("four");
        await Expect(ann.Bubbles).ToHaveTextAsync(["Ann: one", "Ann: two", "three", "Ann: four"]);
        await Expect(ann.Notes.Filter(new() { HasText = "missing" })).ToHaveCountAsync(0);
    }

    [Fact]
    public async Task The_page_shows_who_is_there_as_they_come_and_go_however_they_go()
    {
        const string Room = "/rooms/people";
        await using var ann = await chromium.OpenAsync(demo, "Ann", Room);
        await ann.ConnectAsync();
        await ann.SeesPeopleAsync("Ann");
        var (browser, ben) = await chromium.OpenElsewhereAsync(demo, "Ben", Room);
        await using var browserOfBen = browser;
        await ben.ConnectAsync();
        foreach (var visitor in new[] { ann, ben }) await visitor.SeesPeopleAsync("Ann", "Ben");
        using (var guest = await demo.ConnectAsync(Room))
        {
            await Expect(ann.People).ToHaveCountAsync(3);
            await Expect(ann.People.Filter(new() { HasTextRegex = new Regex("^guest [0-9a-f]{4}$") })).ToHaveCountAsync(1);
            await ann.SeesCountAsync(3);
            await guest.CloseAsync(WebSocketCloseStatus.NormalClosure, null, TestContext.Current.CancellationToken);
        }

        await ann.SeesPeopleAsync("Ann", "Ben");
        await CrashAsync(browser);
        await ann.SeesPeopleAsync("Ann");
        await ann.SeesCountAsync(1);

        // Another name is another person, and who only looks on is none.
        await ann.Name.FillAsync("Annabel");
        await ann.Name.PressAsync("Tab");
        await ann.SeesPeopleAsync("Annabel");
        await using var cleo = await chromium.OpenAsync(demo, "Cleo", Room);
        await cleo.SeesPeopleAsync("Annabel");
        await ann.Disconnect.ClickAsync();
        await cleo.SeesPeopleAsync();
        await cleo.SeesCountAsync(0);
    }

    [Fact]
    public async Task Clients_other_than_the_page_see_nothing_but_what_is_said()
    {
        using var other = await demo.ConnectAsync("/rooms/plain");
        using var events = await demo.Http.SendAsync(
            new(HttpMethod.Get, "/rooms/plain") { Headers = { { "Accept", "text/event-stream" } } },
            HttpCompletionOption.ResponseHeadersRead, TestContext.Current.CancellationToken);
        await demo.WaitForCountAsync("/rooms/plain", 2);
        await using (var ann = await chromium.OpenAsync(demo, "Ann", "/rooms/plain"))
        {
            await ann.ConnectAsync();
            await ann.SayAsync("first");
            await ann.SeesLastAsync("Ann: first");
        }

        await demo.WaitForCountAsync("/rooms/plain", 2);
        await other.SendAsync("second");
        Assert.Equal("Ann: first", await other.ReceiveTextAsync());
        Assert.Equal("second", await other.ReceiveTextAsync());
        using var reader = new StreamReader(await events.Content.ReadAsStreamAsync(TestContext.Current.CancellationToken));
        var said = new List<string>();
        while (said.Count < 2 && await reader.ReadLineAsync(TestContext.Current.CancellationToken) is { } line)
            if (line.StartsWith("data:", StringComparison.Ordinal)) said.Add(line["data:".Length..].Trim());
        Assert.Equal(["Ann: first", "second"], said);
    }

    /// <summary>The whole browser, as kill -9 would: it says goodbye to nobody.</summary>
    static async Task CrashAsync(IBrowser browser)
    {
        var gone = new TaskCompletionSource(TaskCreationOptions.RunContinuationsAsynchronously);
        browser.Disconnected += (_, _) => gone.TrySetResult();
        var session = await browser.NewBrowserCDPSessionAsync();
        // It does not live to answer.
        _ = session.SendAsync("Browser.crash").ContinueWith(static answer => answer.Exception, TaskScheduler.Default);
        await gone.Task.WaitAsync(TimeSpan.FromSeconds(20), TestContext.Current.CancellationToken);
    }
}
