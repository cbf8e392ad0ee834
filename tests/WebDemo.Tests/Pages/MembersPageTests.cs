using System.Net.Http.Json;
using System.Net.WebSockets;
using System.Text.RegularExpressions;
using Microsoft.Playwright;
using static Microsoft.Playwright.Assertions;

namespace WebDemo.Tests;

/// <summary>Tests the members page in a browser.</summary>
[Collection<PageCollection>]
public sealed class MembersPageTests(DemoServer server, BrowserFixture browser)
{
    [Fact]
    public async Task Reconnect_ServerStaysDown_ShowsOneNote()
    {
        await using var own = await DemoServer.CreateAsync();
        await using var ann = await OpenAsync(own.Url);
        await Expect(ann.GetButton("Renew")).ToBeEnabledAsync();
        await own.KillAsync();
        await ann.ExpectReconnectingAsync();
        await Expect(ann.GetButton("Renew")).ToBeDisabledAsync();
        for (var attempt = 1; attempt <= 2; attempt++)
        {
            // After a failed attempt, the page asks the server whether the token is valid. So this request shows a failed attempt.
            await ann.Page.RunAndWaitForRequestAsync(
                () => ann.Page.GetByRole(AriaRole.Button, new() { Name = "Try now" }).ClickAsync(), static request => request.Url.Contains("/members?", StringComparison.Ordinal));
            await ann.ExpectReconnectingAsync();
        }

        await ann.Page.EvaluateAsync("() => new Promise(requestAnimationFrame)");
        await Expect(ann.Notes).ToHaveTextAsync(["Connected as Ann", "Closed with 1006: the connection was lost."]);
    }

    [Fact]
    public async Task Renew_OtherMemberOnline_ExtendsConnectionAndKeepsListOfMembers()
    {
        await using var ann = await OpenAsync(server.Url);
        // The list shows a member with two connections once.
        using var second = await ConnectAsync("Ann");
        using var ben = await ConnectAsync("Ben");
        await ExpectOnlineAsync(ann, "Ann (you)", "Ben");
        var newSockets = 0;
        ann.Page.WebSocket += (_, _) => newSockets++;
        var before = await GetExpirationAsync(ann);

        var refresh = await ann.Page.RunAndWaitForResponseAsync(() => ann.GetButton("Renew").ClickAsync(), "**/members/refresh");

        Assert.Equal(204, refresh.Status);
        await Expect(ann.Notes).ToHaveTextAsync(["Connected as Ann", "Renewed without a reconnect"]);
        Assert.True(await GetExpirationAsync(ann) > before, "The session does not expire later.");
        await ann.SendAsync("hello");
        await ann.ExpectLastMessageAsync("Ann: hello");
        Assert.Equal(0, newSockets);
        await ben.CloseNormallyAsync();
        await ExpectOnlineAsync(ann, "Ann (you)");
    }

    [Fact]
    public async Task Renew_RequestFails_ShowsProblemAndKeepsConnection()
    {
        await using var ann = await OpenAsync(server.Url);
        var before = await GetExpirationAsync(ann);
        await ann.Page.RouteAsync("**/members/refresh", static route => route.AbortAsync());

        await ann.GetButton("Renew").ClickAsync();

        await Expect(ann.Notes).ToHaveTextAsync([new Regex("^Connected as Ann$"), new Regex("^Cannot renew: .")]);
        Assert.Equal(before, await GetExpirationAsync(ann));
        await ann.ExpectStateAsync("Connected");
    }

    [Fact]
    public async Task Message_BeforeReplyWithId_IsShown()
    {
        await using var ann = await browser.OpenAsync(new(server.Url, "/members.html"));
        // A member can have the name "you x".
        await ann.Page.RouteWebSocketAsync(new Regex("/members"), static socket =>
        {
            socket.ConnectToServer();
            socket.Send("you x: hi");
        });
        await ann.LogInAsync("Ann");
        await ann.ExpectLastMessageAsync("you x: hi");

        var refresh = await ann.Page.RunAndWaitForResponseAsync(() => ann.GetButton("Renew").ClickAsync(), "**/members/refresh");

        // The page has the right ID, and does not show its ID.
        Assert.Equal(204, refresh.Status);
        await Expect(ann.Messages).ToHaveCountAsync(1);
    }

    async Task<DemoPage> OpenAsync(Uri url)
    {
        var page = await browser.OpenAsync(new(url, "/members.html"));
        await page.LogInAsync("Ann");
        return page;
    }

    /// <summary>Logs in and connects to the room. Waits until the connection has joined.</summary>
    async Task<ClientWebSocket> ConnectAsync(string name)
    {
        using var login = await server.Http.PostAsJsonAsync("/login", new LoginRequest(name, "demo"), TestContext.Current.CancellationToken);
        var session = await login.Content.ReadFromJsonAsync<LoginResponse>(TestContext.Current.CancellationToken);
        var socket = await server.ConnectAsync($"/members?access_token={session!.Token}&you");
        Assert.StartsWith("you ", await socket.ReceiveTextAsync(), StringComparison.Ordinal);
        return socket;
    }

    static async Task ExpectOnlineAsync(DemoPage page, params string[] names)
    {
        await Expect(page.Page.GetByRole(AriaRole.List, new() { Name = "Members online" }).GetByRole(AriaRole.Listitem)).ToHaveTextAsync(names);
        await Expect(page.Count).ToHaveTextAsync($"{names.Length} online");
    }

    /// <summary>Returns the time at which the token of the page expires, in milliseconds since 1970.</summary>
    static Task<double> GetExpirationAsync(DemoPage page) =>
        page.Page.EvaluateAsync<double>("() => JSON.parse(sessionStorage.getItem('session')).expires");
}
