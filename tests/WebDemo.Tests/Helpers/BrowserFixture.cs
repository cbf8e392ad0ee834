using Microsoft.Playwright;

namespace WebDemo.Tests;

/// <summary>
/// Starts the installed Chromium when the first test needs it. The environment variable CHROMIUM selects another program.
/// </summary>
/// <remarks>The fixture downloads nothing. Browser tests are skipped if the program does not exist.</remarks>
public sealed class BrowserFixture : IAsyncDisposable
{
    const string FullBrowserPath = "/usr/bin/chromium";

    // Use the headless program of the same browser. With this program, a new page needs only a quarter of the CPU time.
    const string HeadlessShellPath = "/usr/bin/chromium-headless-shell";

    static readonly string ExecutablePath =
        Environment.GetEnvironmentVariable("CHROMIUM") ?? (File.Exists(HeadlessShellPath) ? HeadlessShellPath : FullBrowserPath);

    // The graphics code needs no own process, because no test uses a graphics processor. This saves a twentieth of the CPU time.
    static readonly string[] Arguments =
    [
        "--headless", "--no-sandbox", "--disable-gpu", "--in-process-gpu", "--disable-quic", "--no-first-run",
        "--disable-background-networking", "--disable-component-update", "--disable-sync",
    ];

    // Most tests of the chat page start the connection themselves. The page does not connect if the user has disconnected this
    // tab.
    const string StayDisconnectedScript = "if (location.protocol === 'http:') sessionStorage.setItem('chat-disconnected', 'true')";

    readonly Lazy<Task<IPlaywright>> _playwright;
    readonly Lazy<Task<IBrowser>> _browser;

    public BrowserFixture()
    {
        Assertions.SetDefaultExpectTimeout((float)TestLimits.Wait.TotalMilliseconds);
        // Without this limit, a driver process that exits immediately after its start would block all browser tests forever.
        _playwright = new(static () => Playwright.CreateAsync().WaitAsync(TestLimits.Wait));
        _browser = new(LaunchAsync);
    }

    /// <summary>
    /// Opens the chat page in a new window that shares no state with other windows. The page does not connect by itself.
    /// </summary>
    public async Task<DemoPage> OpenChatAsync(DemoServer server, string name, string hash = "/ws", BrowserNewContextOptions? window = null)
    {
        SkipWithoutBrowser();
        return await OpenAsync(await _browser.Value, GetChatUrl(server, hash), name, window, StayDisconnectedScript);
    }

    /// <summary>Opens a page in a new window that shares no state with other windows. Enters the name if it is not null.</summary>
    public async Task<DemoPage> OpenAsync(Uri url, string? name = null, BrowserNewContextOptions? window = null)
    {
        SkipWithoutBrowser();
        return await OpenAsync(await _browser.Value, url, name, window);
    }

    /// <summary>Opens the chat page in a new browser process, which the caller may crash.</summary>
    public async Task<(IBrowser Browser, DemoPage Page)> OpenChatInNewBrowserAsync(DemoServer server, string name, string hash)
    {
        SkipWithoutBrowser();
        var browser = await LaunchAsync();
        return (browser, await OpenAsync(browser, GetChatUrl(server, hash), name, null, StayDisconnectedScript));
    }

    public async ValueTask DisposeAsync()
    {
        if (_browser.IsValueCreated) await (await _browser.Value).DisposeAsync();
        if (_playwright.IsValueCreated) (await _playwright.Value).Dispose();
    }

    static Uri GetChatUrl(DemoServer server, string hash) => new(server.Url, "/chat.html#" + hash);

    static void SkipWithoutBrowser() =>
        Assert.SkipUnless(File.Exists(ExecutablePath), $"{ExecutablePath} does not exist. Install chromium, or set CHROMIUM to its path.");

    static async Task<DemoPage> OpenAsync(IBrowser browser, Uri url, string? name, BrowserNewContextOptions? window, string? script = null)
    {
        var context = await browser.NewContextAsync(window);
        if (script is not null) await context.AddInitScriptAsync(script);
        context.SetDefaultTimeout((float)TestLimits.Wait.TotalMilliseconds);
        return await DemoPage.OpenAsync(await context.NewPageAsync(), url, name);
    }

    async Task<IBrowser> LaunchAsync() =>
        await (await _playwright.Value).Chromium.LaunchAsync(new() { ExecutablePath = ExecutablePath, Args = Arguments });
}
