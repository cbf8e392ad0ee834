using Microsoft.Playwright;

namespace WebDemo.Tests;

/// <summary>One browser for the tests of the page, which take turns.</summary>
[CollectionDefinition]
public sealed class PageCollection : ICollectionFixture<Chromium>;

/// <summary>
/// The system's Chromium, or the one that the environment variable CHROMIUM names. Nothing is downloaded: where there is none, the tests
/// that need it are skipped.
/// </summary>
public sealed class Chromium : IAsyncLifetime
{
    static readonly string ExecutablePath = Environment.GetEnvironmentVariable("CHROMIUM") ?? "/usr/bin/chromium";

    static readonly string[] Arguments =
    [
        "--headless", "--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run",
        "--disable-background-networking", "--disable-component-update", "--disable-sync",
    ];

    IPlaywright? _playwright;
    IBrowser? _browser;

    public async ValueTask InitializeAsync()
    {
        if (!File.Exists(ExecutablePath)) return;
        _playwright = await Playwright.CreateAsync();
        // What is expected comes at once on a machine that has nothing else to do.
        Assertions.SetDefaultExpectTimeout(20_000);
        _browser = await _playwright.Chromium.LaunchAsync(new() { ExecutablePath = ExecutablePath, Args = Arguments });
    }

    /// <summary>Opens the chat in a window that shares nothing with others.</summary>
    public Task<Visitor> OpenAsync(Demo demo, string name, string hash = "/ws", BrowserNewContextOptions? window = null) =>
        OpenPageAsync(new(demo.Url, "/chat.html#" + hash), name, window);

    /// <summary>Opens a page in a window that shares nothing with others; with a name, if it asks for one.</summary>
    public async Task<Visitor> OpenPageAsync(Uri url, string? name = null, BrowserNewContextOptions? window = null) =>
        await OpenAsync(Existing(_browser), url, name, window);

    /// <summary>Opens the chat in a browser of its own, which the caller may kill.</summary>
    public async Task<(IBrowser Browser, Visitor Visitor)> OpenElsewhereAsync(Demo demo, string name, string hash)
    {
        var browser = await Existing(_playwright).Chromium.LaunchAsync(new() { ExecutablePath = ExecutablePath, Args = Arguments });
        return (browser, await OpenAsync(browser, new(demo.Url, "/chat.html#" + hash), name, null));
    }

    static async Task<Visitor> OpenAsync(IBrowser browser, Uri url, string? name, BrowserNewContextOptions? window)
    {
        var context = await browser.NewContextAsync(window);
        return await Visitor.OpenAsync(await context.NewPageAsync(), url, name);
    }

    static T Existing<T>(T? needed) where T : class
    {
        Assert.SkipUnless(needed is not null, $"There is no {ExecutablePath}: apt install chromium, or name one in CHROMIUM.");
        return needed;
    }

    public async ValueTask DisposeAsync()
    {
        if (_browser is not null) await _browser.DisposeAsync();
        _playwright?.Dispose();
    }
}
