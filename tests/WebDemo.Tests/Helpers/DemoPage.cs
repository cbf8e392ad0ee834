using System.Collections.Concurrent;
using System.Globalization;
using System.Text.RegularExpressions;
using Microsoft.Playwright;
using static Microsoft.Playwright.Assertions;

namespace WebDemo.Tests;

/// <summary>
/// A page of the demo in a browser window. Like a screen reader, tests find the elements of the page by their
/// accessible names.
/// </summary>
/// <remarks>Disposing the page fails the test if the page has raised a script error.</remarks>
public sealed class DemoPage : IAsyncDisposable
{
    // No page has so many controls.
    const int MaxTabs = 80;

    readonly ConcurrentQueue<string> _errors = [];

    DemoPage(IPage page)
    {
        Page = page;
        page.PageError += (_, error) => _errors.Enqueue(error);
        // The browser itself logs net::ERR_ messages when it cannot reach the server. Tests that stop the server expect these messages.
        page.Console += (_, message) =>
        {
            if (message.Type == "error" && !message.Text.Contains("net::ERR_", StringComparison.Ordinal)) _errors.Enqueue(message.Text);
        };
    }

    public IPage Page { get; }
    public ILocator State => Page.GetByRole(AriaRole.Status);
    public ILocator Countdown => Page.Locator("#countdown");
    public ILocator Count => Page.Locator("#count");
    public ILocator Path => Page.Locator("#path");
    public ILocator Name => Page.GetByLabel("Your name");
    public ILocator Room => Page.GetByLabel("Room", new() { Exact = true });
    public ILocator MessageBox => Page.GetByLabel("Message", new() { Exact = true });
    public ILocator Send => GetButton("Send");
    public ILocator Connect => GetButton("Connect");
    public ILocator Disconnect => GetButton("Disconnect");
    public ILocator Log => Page.GetByRole(AriaRole.Log, new() { Name = "Messages" });
    public ILocator Messages => Log.Locator(".message");
    public ILocator People => Page.GetByRole(AriaRole.List, new() { Name = "People here" }).GetByRole(AriaRole.Listitem);
    public ILocator Bubbles => Messages.Locator(".bubble");
    public ILocator Notes => Log.Locator(".note");

    public static async Task<DemoPage> OpenAsync(IPage page, Uri url, string? name)
    {
        var demoPage = new DemoPage(page);
        await page.GotoAsync(url.AbsoluteUri);
        if (name is not null) await demoPage.EnterNameAsync(name);
        return demoPage;
    }

    public async Task EnterNameAsync(string name)
    {
        await Name.FillAsync(name);
        await Name.PressAsync("Tab");
    }

    public async Task ConnectAsync()
    {
        await Connect.ClickAsync();
        await ExpectStateAsync("Connected");
    }

    /// <summary>Logs in to the members page, which redirects to the login page.</summary>
    public async Task LogInAsync(string name)
    {
        await ExpectLoginPageAsync();
        await Name.FillAsync(name);
        await Page.GetByLabel("Password").FillAsync("demo");
        await Page.GetByLabel("Password").PressAsync("Enter");
        await ExpectStateAsync("Connected");
    }

    /// <summary>
    /// Expects the login page of a browser without a remembered name. The last statement of its script focuses the field. Before this
    /// statement, the script can overwrite a name, and the form does not log in.
    /// </summary>
    public Task ExpectLoginPageAsync() => Expect(Name).ToBeFocusedAsync();

    /// <summary>Presses Tab until an element has the focus.</summary>
    public async Task TabToAsync(ILocator element)
    {
        for (var tabs = 0; tabs < MaxTabs; tabs++)
        {
            if (await element.EvaluateAsync<bool>("element => element === document.activeElement")) return;
            await Page.Keyboard.PressAsync("Tab");
        }

        Assert.Fail($"The key Tab does not reach {element}.");
    }

    public Task SelectUrlAsync(string url) => Page.GetByRole(AriaRole.Radio, new() { Name = url }).CheckAsync();

    public async Task SendAsync(string text)
    {
        await MessageBox.FillAsync(text);
        await MessageBox.PressAsync("Enter");
    }

    public ILocator GetButton(string name) => Page.GetByRole(AriaRole.Button, new() { Name = name, Exact = true });

    /// <summary>Returns the URL of a terminal command that the page shows.</summary>
    public async Task<string> GetCommandUrlAsync(string id = "curl") => (await Page.Locator("#" + id).InnerTextAsync()).Split('\'')[1];

    public Task ExpectStateAsync(string state) => Expect(State).ToHaveTextAsync(state);

    public Task ExpectLastMessageAsync(string text) => Expect(Messages.Last.Locator(".bubble")).ToHaveTextAsync(text);

    /// <summary>Expects these names in the list of people, in any order.</summary>
    public async Task ExpectPeopleAsync(params string[] names)
    {
        await Expect(People).ToHaveCountAsync(names.Length);
        foreach (var name in names) await Expect(People.GetByText(name, new() { Exact = true })).ToBeVisibleAsync();
    }

    public Task ExpectCountAsync(int count) => Expect(Count).ToHaveTextAsync($"{count} connected");

    public async Task ExpectReconnectingAsync()
    {
        await ExpectStateAsync("Reconnecting");
        await Expect(Countdown).ToHaveTextAsync(new Regex(@"^in \d+ s$"));
    }

    /// <summary>Returns the number of seconds until the next connection attempt.</summary>
    public async Task<int> GetRetrySecondsAsync() =>
        int.Parse((await Countdown.InnerTextAsync()).Split(' ')[1], CultureInfo.InvariantCulture);

    /// <summary>Ignores all earlier errors. Tests of a refused connection expect an error.</summary>
    public void ForgetErrors() => _errors.Clear();

    public async ValueTask DisposeAsync()
    {
        await Page.Context.CloseAsync();
        Assert.Empty(_errors);
    }
}
