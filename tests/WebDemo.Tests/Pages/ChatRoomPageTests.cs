using System.Text.RegularExpressions;
using Microsoft.Playwright;
using static Microsoft.Playwright.Assertions;

namespace WebDemo.Tests;

/// <summary>Tests the chat page in rooms: the history, the recovery and the list of people.</summary>
[Trait("Run", "More")]
public sealed class ChatRoomPageTests(DemoServer server, BrowserFixture browser)
{
    [Fact]
    public async Task Join_RoomWithHistory_ShowsLast50MessagesThenNewMessages()
    {
        await using var ann = await browser.OpenChatAsync(server, "Ann", "/rooms/memory");
        await using var ben = await browser.OpenChatAsync(server, "Ben", "/rooms/memory");
        await ann.ConnectAsync();
        await ben.ConnectAsync();
        using var other = await server.ConnectAsync("/rooms/memory");
        for (var i = 1; i <= 60; i++) await other.SendTextAsync($"number {i}");
        await ann.ExpectLastMessageAsync("number 60");
        await ann.SendAsync("hello");
        await ben.ExpectLastMessageAsync("Ann: hello");
        await ben.SendAsync("hello yourself");
        await ann.ExpectLastMessageAsync("Ben: hello yourself");

        await using var cleo = await browser.OpenChatAsync(server, "Cleo", "/rooms/memory");
        await cleo.ConnectAsync();
        string[] kept = [.. Enumerable.Range(13, 48).Select(number => $"number {number}"), "Ann: hello", "Ben: hello yourself"];
        await Expect(cleo.Bubbles).ToHaveTextAsync(kept);
        await ann.SendAsync("welcome");
        await cleo.ExpectLastMessageAsync("Ann: welcome");
        await cleo.SendAsync("thank you");
        foreach (var page in new[] { ann, ben }) await page.ExpectLastMessageAsync("Cleo: thank you");
        await Expect(cleo.Bubbles).ToHaveTextAsync([.. kept, "Ann: welcome", "Cleo: thank you"]);
        // Only live messages have a time. The history does not contain times.
        await Expect(cleo.Messages.GetByRole(AriaRole.Time)).ToHaveCountAsync(2);
    }

    [Fact]
    public async Task Join_EmptyRoomWithHistory_ShowsHistory()
    {
        await using (var ann = await browser.OpenChatAsync(server, "Ann", "/rooms/left"))
        {
            await ann.ConnectAsync();
            await ann.SendAsync("is anybody here?");
            await ann.ExpectLastMessageAsync("Ann: is anybody here?");
        }

        await server.WaitForCountAsync("/rooms/left", 0);
        await using var ben = await browser.OpenChatAsync(server, "Ben", "/rooms/left");
        await ben.ConnectAsync();
        await ben.ExpectLastMessageAsync("Ann: is anybody here?");
    }

    [Fact]
    public async Task Reconnect_AfterDisconnect_ShowsMissedMessagesOnce()
    {
        await using var ann = await browser.OpenChatAsync(server, "Ann", "/rooms/again");
        using var other = await server.ConnectAsync("/rooms/again");
        await ann.ConnectAsync();
        await ann.SendAsync("one");
        await ann.SendAsync("two");
        await ann.ExpectLastMessageAsync("Ann: two");
        await ann.Disconnect.ClickAsync();
        await server.WaitForCountAsync("/rooms/again", 1);
        await other.SendTextAsync("three");
        while (await other.ReceiveTextAsync() != "three")
        {
            // Skip the messages of Ann.
        }

        await ann.ConnectAsync();
        await ann.SendAsync("four");
        await Expect(ann.Bubbles).ToHaveTextAsync(["Ann: one", "Ann: two", "three", "Ann: four"]);
        await Expect(ann.Notes.Filter(new() { HasText = "missing" })).ToHaveCountAsync(0);
    }

    [Fact]
    public async Task PullThePlug_MessagesMissed_ShowsMissedMessagesAndCount()
    {
        await using var ann = await browser.OpenChatAsync(server, "Ann", "/rooms/plug");
        // The page reconnects after three seconds. The test stops the clock of the page until the server has all messages.
        await ann.Page.Clock.InstallAsync();
        await ann.ConnectAsync();
        await ann.SendAsync("before");
        await ann.ExpectLastMessageAsync("Ann: before");
        await ann.Page.Clock.PauseAtAsync(DateTime.UtcNow.AddMinutes(1));
        await ann.Page.RunAndWaitForResponseAsync(
            () => ann.Page.GetByRole(AriaRole.Button, new() { Name = "Pull the plug" }).ClickAsync(),
            static response => response.Request.PostData?.Contains("message 5", StringComparison.Ordinal) == true);
        await ann.Page.Clock.ResumeAsync();
        await Expect(ann.Notes.Filter(new() { HasText = "Recovered 5 missed messages" })).ToHaveCountAsync(1);
        await ann.ExpectLastMessageAsync("Server: message 5 while you were away");
        await Expect(ann.Messages).ToHaveCountAsync(6);
        await ann.ExpectPeopleAsync("Ann (you)");
    }

    [Fact]
    public async Task PeopleList_ClientJoinsLeavesOrCrashes_IsUpdated()
    {
        const string Room = "/rooms/people";
        await using var ann = await browser.OpenChatAsync(server, "Ann", Room);
        await ann.ConnectAsync();
        await ann.ExpectPeopleAsync("Ann (you)");
        var (bensBrowser, ben) = await browser.OpenChatInNewBrowserAsync(server, "Ben", Room);
        await using var disposal = bensBrowser;
        await ben.ConnectAsync();
        await ann.ExpectPeopleAsync("Ann (you)", "Ben");
        await ben.ExpectPeopleAsync("Ann", "Ben (you)");
        using (var guest = await server.ConnectAsync(Room))
        {
            await Expect(ann.People).ToHaveCountAsync(3);
            await Expect(ann.People.Filter(new() { HasTextRegex = new Regex("^guest [0-9a-f]{4}$") })).ToHaveCountAsync(1);
            await ann.ExpectCountAsync(3);
            await guest.CloseNormallyAsync();
        }

        await ann.ExpectPeopleAsync("Ann (you)", "Ben");
        await CrashAsync(bensBrowser);
        await ann.ExpectPeopleAsync("Ann (you)");
        await ann.ExpectCountAsync(1);

        // A new name replaces the old name. The list omits a page that is not connected.
        await ann.EnterNameAsync("Annabel");
        await ann.ExpectPeopleAsync("Annabel (you)");
        await using var cleo = await browser.OpenChatAsync(server, "Cleo", Room);
        await cleo.ExpectPeopleAsync("Annabel");
        await ann.Disconnect.ClickAsync();
        await cleo.ExpectPeopleAsync();
        await cleo.ExpectCountAsync(0);
    }

    [Fact]
    public async Task RawAndEventStreamClients_InChatRoom_ReceiveOnlyChatMessages()
    {
        using var other = await server.ConnectAsync("/rooms/plain");
        using var events = await server.Http.SendAsync(
            new(HttpMethod.Get, "/rooms/plain") { Headers = { { "Accept", "text/event-stream" } } },
            HttpCompletionOption.ResponseHeadersRead, TestContext.Current.CancellationToken);
        await server.WaitForCountAsync("/rooms/plain", 2);
        await using (var ann = await browser.OpenChatAsync(server, "Ann", "/rooms/plain"))
        {
            await ann.ConnectAsync();
            await ann.SendAsync("first");
            await ann.ExpectLastMessageAsync("Ann: first");
        }

        await server.WaitForCountAsync("/rooms/plain", 2);
        await other.SendTextAsync("second");
        Assert.Equal("Ann: first", await other.ReceiveTextAsync());
        Assert.Equal("second", await other.ReceiveTextAsync());
        using var reader = new StreamReader(await events.Content.ReadAsStreamAsync(TestContext.Current.CancellationToken));
        var received = new List<string>();
        while (received.Count < 2 && await reader.ReadLineAsync(TestContext.Current.CancellationToken) is { } line)
            if (line.StartsWith("data:", StringComparison.Ordinal)) received.Add(line["data:".Length..].Trim());
        Assert.Equal(["Ann: first", "second"], received);
    }

    /// <summary>Crashes the whole browser, which sends no close frames, like a process after kill -9.</summary>
    static async Task CrashAsync(IBrowser browser)
    {
        var disconnected = new TaskCompletionSource(TaskCreationOptions.RunContinuationsAsynchronously);
        browser.Disconnected += (_, _) => disconnected.TrySetResult();
        var session = await browser.NewBrowserCDPSessionAsync();
        // The browser crashes before it answers this command.
        _ = session.SendAsync("Browser.crash").ContinueWith(static call => call.Exception, TaskScheduler.Default);
        await disconnected.Task.WaitAsync(TestLimits.Wait, TestContext.Current.CancellationToken);
    }
}
