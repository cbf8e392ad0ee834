using System.Collections.Concurrent;
using System.Globalization;
using System.Text.RegularExpressions;
using Microsoft.Playwright;
using static Microsoft.Playwright.Assertions;

namespace WebDemo.Tests;

/// <summary>Somebody in front of the page. What they see is found by what a screen reader would call it.</summary>
public sealed class Visitor : IAsyncDisposable
{
    readonly ConcurrentQueue<string> _errors = [];

    Visitor(IPage page)
    {
        Page = page;
        page.PageError += (_, error) => _errors.Enqueue(error);
        // That a server is away is logged by the browser itself.
        page.Console += (_, message) =>
        {
            if (message.Type == "error" && !message.Text.Contains("net::ERR_", StringComparison.Ordinal)) _errors.Enqueue(message.Text);
        };
    }

    public IPage Page { get; }
    public ILocator State => Page.GetByRole(AriaRole.Status);
    public ILocator Countdown => Page.Locator("#countdown");
    public ILocator Count => Page.Locator("#count");
    public ILocator Name => Page.GetByLabel("Your name");
    public ILocator Room => Page.GetByLabel("Room", new() { Exact = true });
    public ILocator MessageBox => Page.GetByLabel("Message", new() { Exact = true });
    public ILocator Connect => Page.GetByRole(AriaRole.Button, new() { Name = "Connect", Exact = true });
    public ILocator Disconnect => Page.GetByRole(AriaRole.Button, new() { Name = "Disconnect", Exact = true });
    public ILocator Log => Page.GetByRole(AriaRole.Log, new() { Name = "Messages" });
    public ILocator Messages => Log.Locator(".message");
    public ILocator People => Page.GetByRole(AriaRole.List, new() { Name = "Who is here" }).GetByRole(AriaRole.Listitem);
    public ILocator Bubbles => Messages.Locator(".bubble");
    public ILocator Notes => Log.Locator(".note");

    public static async Task<Visitor> OpenAsync(IPage page, Uri url, string? name)
    {
        var visitor = new Visitor(page);
        await page.GotoAsync(url.AbsoluteUri);
        if (name is null) return visitor;
        await visitor.Name.FillAsync(name);
        await visitor.Name.PressAsync("Tab");
        return visitor;
    }

    public async Task ConnectAsync()
    {
        await Connect.ClickAsync();
        await Expect(State).ToHaveTextAsync("Connected");
    }

    public Task ChooseAsync(string url) => Page.GetByRole(AriaRole.Radio, new() { Name = url }).CheckAsync();

    public async Task SayAsync(string text)
    {
        await MessageBox.FillAsync(text);
        await MessageBox.PressAsync("Enter");
    }

    public Task SeesLastAsync(string text) => Expect(Messages.Last.Locator(".bubble")).ToHaveTextAsync(text);

    /// <summary>In whichever order.</summary>
    public async Task SeesPeopleAsync(params string[] names)
    {
        await Expect(People).ToHaveCountAsync(names.Length);
        foreach (var name in names) await Expect(People.GetByText(name, new() { Exact = true })).ToBeVisibleAsync();
    }

    public Task SeesCountAsync(int count) => Expect(Count).ToHaveTextAsync($"{count} connected");

    public async Task IsReconnectingAsync()
    {
        await Expect(State).ToHaveTextAsync("Reconnecting");
        await Expect(Countdown).ToHaveTextAsync(new Regex(@"^in \d+ s$"));
    }

    public async Task<int> SecondsToWaitAsync() =>
        int.Parse((await Countdown.InnerTextAsync()).Split(' ')[1], CultureInfo.InvariantCulture);

    public async ValueTask DisposeAsync()
    {
        await Page.Context.CloseAsync();
        Assert.Empty(_errors);
    }
}
