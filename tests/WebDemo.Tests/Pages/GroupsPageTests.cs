using System.Text.RegularExpressions;
using Microsoft.Playwright;
using static Microsoft.Playwright.Assertions;

namespace WebDemo.Tests;

/// <summary>Tests the groups page, which runs the published npm client in the browser.</summary>
public sealed class GroupsPageTests(DemoServer server, BrowserFixture browser)
{
    [Fact]
    public async Task Send_ToGroup_ReachesOnlyMembersOfThatGroup()
    {
        await using var ann = await OpenAsync("Ann", "send-blue");
        await using var ben = await OpenAsync("Ben", "send-blue");
        await using var cleo = await OpenAsync("Cleo", "send-red");
        await Expect(ann.Count).ToHaveTextAsync("2 here");
        await Expect(cleo.Count).ToHaveTextAsync("1 here");
        await ann.SendAsync("hello");
        await ben.ExpectLastMessageAsync("Ann: hello");
        await ben.SendAsync("hello yourself");
        foreach (var page in new[] { ann, ben })
        {
            await page.ExpectLastMessageAsync("Ben: hello yourself");
            await Expect(page.Messages).ToHaveCountAsync(2);
        }

        // Each page marks its own messages.
        await Expect(ann.Log.Locator(".own")).ToHaveTextAsync(new Regex("Ann: hello"));
        await cleo.SendAsync("alone");
        await cleo.ExpectLastMessageAsync("Cleo: alone");
        await Expect(cleo.Messages).ToHaveCountAsync(1);
    }

    [Fact]
    public async Task Groups_OtherGroupShown_CountsUnreadMessages()
    {
        await using var ann = await OpenAsync("Ann", "one");
        await using var ben = await OpenAsync("Ben", "one");
        await JoinAsync(ben, "two");
        await ben.SendAsync("in two");
        await ben.ExpectLastMessageAsync("Ben: in two");
        await Expect(ben.Messages).ToHaveCountAsync(1);
        for (var i = 1; i <= 3; i++) await ann.SendAsync($"number {i}");
        await Expect(Group(ben, "one")).ToHaveTextAsync("one3×");
        await Expect(ben.Messages).ToHaveCountAsync(1);

        await ben.Page.GetByRole(AriaRole.Radio, new() { Name = "one" }).CheckAsync();
        await Expect(ben.Bubbles).ToHaveTextAsync(["Ann: number 1", "Ann: number 2", "Ann: number 3"]);
        await Expect(Group(ben, "one")).ToHaveTextAsync("one×");
        // The page sends messages to the shown group.
        await ben.SendAsync("seen");
        await ann.ExpectLastMessageAsync("Ben: seen");
    }

    [Fact]
    public async Task Leave_OneGroup_KeepsOtherGroups()
    {
        await using var ann = await OpenAsync("Ann", "stays");
        await JoinAsync(ann, "goes");
        await ann.Page.GetByRole(AriaRole.Button, new() { Name = "Leave goes" }).ClickAsync();
        await Expect(Group(ann, "goes")).ToHaveCountAsync(0);
        await server.WaitForCountAsync("goes", 0);
        await server.WaitForCountAsync("stays", 1);
        await Expect(ann.Path).ToHaveTextAsync("stays");
        await ann.SendAsync("here");
        await ann.ExpectLastMessageAsync("Ann: here");

        await ann.Page.GetByRole(AriaRole.Button, new() { Name = "Leave stays" }).ClickAsync();
        await Expect(ann.MessageBox).ToBeDisabledAsync();
        await Expect(ann.MessageBox).ToHaveAccessibleDescriptionAsync("Join a group to write.");
        await server.WaitForCountAsync("stays", 0);
    }

    [Fact]
    public async Task Join_NameWithSpecialCharacters_JoinsUnlessNameHasSlash()
    {
        const string Name = "a b ü? #1 & <i>'%2F";
        await using var ann = await OpenAsync("Ann", "plain");
        await JoinAsync(ann, Name);
        await server.WaitForCountAsync(Name, 1);
        // The link and the terminal command lead to the same group.
        await using var ben = await browser.OpenAsync(new(ann.Page.Url), "Ben");
        await Expect(ben.Path).ToHaveTextAsync(Name);
        await server.Http.PostAsync(await ann.GetCommandUrlAsync(), new StringContent("from outside"), TestContext.Current.CancellationToken);
        // The command with an ID has an effect only once.
        var retryUrl = await ann.GetCommandUrlAsync("curl-retry");
        foreach (var text in new[] { "once", "repeated" })
            await server.Http.PostAsync(retryUrl, new StringContent(text), TestContext.Current.CancellationToken);
        await ann.SendAsync("end");
        foreach (var page in new[] { ann, ben }) await Expect(page.Bubbles).ToHaveTextAsync(["from outside", "once", "Ann: end"]);

        var field = ann.Page.GetByLabel("Group to join");
        await field.FillAsync("/rooms/blue");
        await field.PressAsync("Enter");
        Assert.False(await field.EvaluateAsync<bool>("field => field.checkValidity()"));
        await Expect(field).ToHaveValueAsync("/rooms/blue");
        await Expect(ann.Page.Locator(".group")).ToHaveCountAsync(2);
    }

    [Fact]
    public async Task Message_JsonOrBinary_IsShownAsJsonOrSize()
    {
        await using var ann = await OpenAsync("Ann", "page-types");
        using var other = await server.ConnectAsync("/ws", "json.webpubsub.azure.v1");
        await other.SendTextAsync("""{"type":"sendToGroup","group":"page-types","dataType":"json","data":{"a":[1,null,"<b>"]}}""");
        await ann.ExpectLastMessageAsync("""{"a":[1,null,"<b>"]}""");
        await other.SendTextAsync("""{"type":"sendToGroup","group":"page-types","dataType":"binary","data":"AAEC"}""");
        await ann.ExpectLastMessageAsync("3 bytes");
    }

    [Fact]
    public async Task Reconnect_TransportCut_RecoversGroupsAndMessages()
    {
        await using var proxy = new TcpProxy(server.Url);
        proxy.Start();
        await using var ann = await OpenAsync("Ann", "cut", proxy.Url);
        await JoinAsync(ann, "also cut");
        await using var ben = await OpenAsync("Ben", "cut");
        await ben.SendAsync("before");
        await ben.ExpectLastMessageAsync("Ben: before");
        Assert.NotEqual(0, proxy.Stop());
        await ann.ExpectStateAsync("Reconnecting");
        await Expect(ann.MessageBox).ToBeDisabledAsync();
        await Expect(ann.MessageBox).ToHaveAccessibleDescriptionAsync("You can write when the connection is back.");
        await ben.SendAsync("meanwhile");
        await ben.ExpectLastMessageAsync("Ben: meanwhile");
        proxy.Start();
        await ann.ExpectStateAsync("Connected");
        await ann.SendAsync("back");
        await ann.ExpectLastMessageAsync("Ann: back");
        await ann.Page.GetByRole(AriaRole.Radio, new() { NameRegex = new Regex("^cut") }).CheckAsync();
        await ann.SendAsync("here too");
        await ben.ExpectLastMessageAsync("Ann: here too");
        await ben.SendAsync("welcome");
        await Expect(ann.Bubbles).ToHaveTextAsync(["Ben: before", "Ben: meanwhile", "Ann: here too", "Ben: welcome"]);
        await Expect(ann.Notes.Filter(new() { HasText = "will not appear here" })).ToHaveCountAsync(0);
    }

    [Fact]
    public async Task Reconnect_ServerRestarts_RejoinsGroupsAndReceivesMessageToEveryone()
    {
        await using var own = await DemoServer.CreateAsync();
        await using var ann = await OpenAsync("Ann", "restart", own.Url);
        await own.KillAsync();
        await ann.ExpectStateAsync("Reconnecting");
        await own.StartAsync();
        await ann.ExpectStateAsync("Connected");
        await own.WaitForCountAsync("restart", 1);
        await Expect(ann.Notes.Filter(new() { HasText = "Messages that others send now will not appear here." })).ToHaveCountAsync(1);
        await ann.SendAsync("back");
        await ann.ExpectLastMessageAsync("Ann: back");
        var everyoneUrl = await ann.GetCommandUrlAsync("curl-everyone");
        await own.Http.PostAsync(everyoneUrl, new StringContent("to everyone"), TestContext.Current.CancellationToken);
        await ann.ExpectLastMessageAsync("to everyone");
    }

    async Task<DemoPage> OpenAsync(string name, string group, Uri? url = null)
    {
        var page = await browser.OpenAsync(new(url ?? server.Url, "/groups.html#" + group), name);
        await page.ExpectStateAsync("Connected");
        await Expect(page.Path).ToHaveTextAsync(group);
        return page;
    }

    static async Task JoinAsync(DemoPage page, string group)
    {
        await page.Page.GetByLabel("Group to join").FillAsync(group);
        await page.Page.GetByLabel("Group to join").PressAsync("Enter");
        await Expect(page.Path).ToHaveTextAsync(group);
    }

    static ILocator Group(DemoPage page, string name) =>
        page.Page.Locator(".group").Filter(new() { Has = page.Page.GetByRole(AriaRole.Radio, new() { Name = name }) });
}
