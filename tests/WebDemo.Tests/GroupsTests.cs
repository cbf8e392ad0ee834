using System.Text.RegularExpressions;
using Microsoft.Playwright;
using static Microsoft.Playwright.Assertions;

namespace WebDemo.Tests;

/// <summary>The page that runs the published npm client in the browser.</summary>
[Collection<PageCollection>]
public sealed class GroupsTests(Demo demo, Chromium chromium) : IClassFixture<Demo>
{
    [Fact]
    public async Task Those_in_a_group_hear_each_other_and_nobody_else()
    {
        await using var ann = await OpenAsync("Ann", "blue");
        await using var ben = await OpenAsync("Ben", "blue");
        await using var cleo = await OpenAsync("Cleo", "red");
        await Expect(ann.Count).ToHaveTextAsync("2 here");
        await Expect(cleo.Count).ToHaveTextAsync("1 here");
        await ann.SayAsync("hello");
        await ben.SeesLastAsync("Ann: hello");
        await ben.SayAsync("hello yourself");
        foreach (var visitor in new[] { ann, ben })
        {
            await visitor.SeesLastAsync("Ben: hello yourself");
            await Expect(visitor.Messages).ToHaveCountAsync(2);
        }

        // Each is told which is their own.
        await Expect(ann.Log.Locator(".own")).ToHaveTextAsync(new Regex("Ann: hello"));
        await cleo.SayAsync("alone");
        await cleo.SeesLastAsync("Cleo: alone");
        await Expect(cleo.Messages).ToHaveCountAsync(1);
    }

    [Fact]
    public async Task Each_group_has_its_messages_and_counts_what_nobody_has_looked_at()
    {
        await using var ann = await OpenAsync("Ann", "one");
        await using var ben = await OpenAsync("Ben", "one");
        await JoinAsync(ben, "two");
        await ben.SayAsync("in two");
        await ben.SeesLastAsync("Ben: in two");
        await Expect(ben.Messages).ToHaveCountAsync(1);
        for (var i = 1; i <= 3; i++) await ann.SayAsync($"number {i}");
        await Expect(Group(ben, "one")).ToHaveTextAsync("one3×");
        await Expect(ben.Messages).ToHaveCountAsync(1);

        await ben.Page.GetByRole(AriaRole.Radio, new() { Name = "one" }).CheckAsync();
        await Expect(ben.Bubbles).ToHaveTextAsync(["Ann: number 1", "Ann: number 2", "Ann: number 3"]);
        await Expect(Group(ben, "one")).ToHaveTextAsync("one×");
        // What is written goes to the group that is shown.
        await ben.SayAsync("seen");
        await ann.SeesLastAsync("Ben: seen");
    }

    [Fact]
    public async Task Who_leaves_a_group_is_in_the_others_still()
    {
        await using var ann = await OpenAsync("Ann", "stays");
        await JoinAsync(ann, "goes");
        await ann.Page.GetByRole(AriaRole.Button, new() { Name = "Leave goes" }).ClickAsync();
        await Expect(Group(ann, "goes")).ToHaveCountAsync(0);
        await demo.WaitForCountAsync("goes", 0);
        await demo.WaitForCountAsync("stays", 1);
        await Expect(ann.Page.Locator("#path")).ToHaveTextAsync("stays");
        await ann.SayAsync("here");
        await ann.SeesLastAsync("Ann: here");

        await ann.Page.GetByRole(AriaRole.Button, new() { Name = "Leave stays" }).ClickAsync();
        await Expect(ann.MessageBox).ToBeDisabledAsync();
        await Expect(ann.MessageBox).ToHaveAccessibleDescriptionAsync("Join a group to write.");
        await demo.WaitForCountAsync("stays", 0);
    }

    [Fact]
    public async Task A_group_may_have_any_name_but_that_of_a_url()
    {
        const string Name = "a/b ü? #1 & <i>'%2F";
        await using var ann = await OpenAsync("Ann", "plain");
        await JoinAsync(ann, Name);
        await demo.WaitForCountAsync(Name, 1);
        // A link leads into the same group, and what the page shows for a terminal does too.
        await using var ben = await chromium.OpenPageAsync(new(ann.Page.Url), "Ben");
        await Expect(ben.Page.Locator("#path")).ToHaveTextAsync(Name);
        var command = await ann.Page.Locator("#curl").InnerTextAsync();
        await demo.Http.PostAsync(command.Split('\'')[1], new StringContent("from outside"), TestContext.Current.CancellationToken);
        foreach (var visitor in new[] { ann, ben }) await visitor.SeesLastAsync("from outside");

        var field = ann.Page.GetByLabel("Group to join");
        await field.FillAsync("/rooms/blue");
        await field.PressAsync("Enter");
        Assert.False(await field.EvaluateAsync<bool>("field => field.checkValidity()"));
        await Expect(field).ToHaveValueAsync("/rooms/blue");
        await Expect(ann.Page.Locator(".group")).ToHaveCountAsync(2);
    }

    [Fact]
    public async Task Json_is_shown_as_json_and_bytes_by_their_number()
    {
        await using var ann = await OpenAsync("Ann", "types");
        using var other = await demo.ConnectAsync("/ws", "json.webpubsub.azure.v1");
        await other.SendAsync("""{"type":"sendToGroup","group":"types","dataType":"json","data":{"a":[1,null,"<b>"]}}""");
        await ann.SeesLastAsync("""{"a":[1,null,"<b>"]}""");
        await other.SendAsync("""{"type":"sendToGroup","group":"types","dataType":"binary","data":"AAEC"}""");
        await ann.SeesLastAsync("3 bytes");
    }

    [Fact]
    public async Task After_the_line_was_cut_it_is_back_in_its_groups_and_has_missed_nothing()
    {
        using var line = new UnsteadyLine(demo.Url.Port);
        line.Open();
        await using var ann = await OpenAsync("Ann", "cut", new($"http://127.0.0.1:{line.Port}"));
        await JoinAsync(ann, "also cut");
        await using var ben = await OpenAsync("Ben", "cut");
        await ben.SayAsync("before");
        await ben.SeesLastAsync("Ben: before");
        Assert.NotEqual(0, line.Cut());
        await Expect(ann.State).ToHaveTextAsync("Reconnecting");
        await Expect(ann.MessageBox).ToBeDisabledAsync();
        await Expect(ann.MessageBox).ToHaveAccessibleDescriptionAsync("You can write when the connection is back.");
        await ben.SayAsync("meanwhile");
        await ben.SeesLastAsync("Ben: meanwhile");
        line.Open();
        await Expect(ann.State).ToHaveTextAsync("Connected");
        await ann.SayAsync("back");
        await ann.SeesLastAsync("Ann: back");
        await ann.Page.GetByRole(AriaRole.Radio, new() { NameRegex = new Regex("^cut") }).CheckAsync();
        await ann.SayAsync("here too");
        await ben.SeesLastAsync("Ann: here too");
        await ben.SayAsync("welcome");
        await Expect(ann.Bubbles).ToHaveTextAsync(["Ben: before", "Ben: meanwhile", "Ann: here too", "Ben: welcome"]);
        await Expect(ann.Notes.Filter(new() { HasText = "meanwhile" })).ToHaveCountAsync(0);
    }

    [Fact]
    public async Task After_the_server_was_started_again_it_is_back_in_its_groups_by_itself()
    {
        await using var own = new Demo();
        await own.StartAsync();
        await using var ann = await OpenAsync("Ann", "restart", own.Url);
        await own.KillAsync();
        await Expect(ann.State).ToHaveTextAsync("Reconnecting");
        await own.StartAsync();
        await Expect(ann.State).ToHaveTextAsync("Connected");
        await own.WaitForCountAsync("restart", 1);
        await Expect(ann.Notes.Filter(new() { HasText = "What is said meanwhile, you will not see." })).ToHaveCountAsync(1);
        await ann.SayAsync("back");
        await ann.SeesLastAsync("Ann: back");
    }

    async Task<Visitor> OpenAsync(string name, string group, Uri? url = null, BrowserNewContextOptions? window = null)
    {
        var visitor = await chromium.OpenPageAsync(new(url ?? demo.Url, "/groups.html#" + group), name, window);
        await Expect(visitor.State).ToHaveTextAsync("Connected");
        await Expect(visitor.Page.Locator("#path")).ToHaveTextAsync(group);
        return visitor;
    }

    static async Task JoinAsync(Visitor visitor, string group)
    {
        await visitor.Page.GetByLabel("Group to join").FillAsync(group);
        await visitor.Page.GetByLabel("Group to join").PressAsync("Enter");
        await Expect(visitor.Page.Locator("#path")).ToHaveTextAsync(group);
    }

    static ILocator Group(Visitor visitor, string name) =>
        visitor.Page.Locator(".group").Filter(new() { Has = visitor.Page.GetByRole(AriaRole.Radio, new() { Name = name }) });
}
