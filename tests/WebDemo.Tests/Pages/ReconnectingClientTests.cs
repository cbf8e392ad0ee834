using System.Net.WebSockets;
using System.Text.RegularExpressions;
using Broadcast.Middleware;
using Microsoft.AspNetCore.Builder;
using Microsoft.AspNetCore.Hosting;
using Microsoft.AspNetCore.Http;
using Microsoft.Extensions.DependencyInjection;
using Microsoft.Extensions.Logging;
using static Microsoft.Playwright.Assertions;

namespace WebDemo.Tests;

/// <summary>Runs the JavaScript clients of docs/guides/clients.md and the page of the quickstart in a browser.</summary>
[Trait("Run", "More")]
public sealed partial class ReconnectingClientTests(BrowserFixture browser)
{
    [Fact]
    public async Task QuickstartPage_LineTyped_AppearsInBothWindows()
    {
        var page = HtmlBlock().Match(await ReadAsync("quickstart.md")).Groups[1].Value;
        Assert.Contains(page, await ReadAsync("README.md"), StringComparison.Ordinal);
        await using var app = await StartAsync(static options => { }, page);
        await using var first = await browser.OpenAsync(new Uri(app.Urls.Single()));
        await using var second = await browser.OpenAsync(new Uri(app.Urls.Single()));
        await WaitAsync(() => app.Services.GetRequiredService<IConnectionRegistry>().CountGroupMembers("/ws") == 2);
        await first.Page.WaitForFunctionAsync("() => socket.readyState === WebSocket.OPEN");

        await first.Page.GetByPlaceholder("Message").FillAsync("hello");
        await first.Page.GetByPlaceholder("Message").PressAsync("Enter");

        foreach (var window in new[] { first, second }) await Expect(window.Page.Locator("pre")).ToHaveTextAsync("hello");
        await Expect(first.Page.GetByPlaceholder("Message")).ToHaveValueAsync("");
    }

    [Theory]
    [InlineData("connect")]
    [InlineData("listen")]
    public async Task Client_ConnectionBecomesSilent_ConnectsAgain(string client)
    {
        var token = TestContext.Current.CancellationToken;
        await using var app = await StartAsync(options => (options.HeartbeatMessage, options.HeartbeatInterval) = ("heartbeat", TimeSpan.FromSeconds(1)));
        await using var proxy = new FaultProxy(new Uri(app.Urls.Single()), [], static () => Task.CompletedTask);
        proxy.Start();
        await using var window = await browser.OpenAsync(proxy.Url);
        var registry = app.Services.GetRequiredService<IConnectionRegistry>();
        // The test stops the clock of the page. Otherwise, a heartbeat message could arrive too late on a busy machine.
        await window.Page.Clock.InstallAsync();
        await window.Page.Clock.PauseAtAsync(DateTime.UtcNow.AddMinutes(1));

        await window.Page.EvaluateAsync("""
            async client => {
                const clients = await import('/clients.js');
                [window.received, window.heartbeats] = [[], 0];
                window.WebSocket = class extends WebSocket {
                    constructor(...parameters) {
                        super(...parameters);
                        this.addEventListener('message', ({ data }) => data === 'heartbeat' && heartbeats++);
                    }
                };
                window.EventSource = class extends EventSource {
                    constructor(url) {
                        super(url);
                        this.addEventListener('heartbeat', () => heartbeats++);
                    }
                };
                if (client === 'connect') clients.connect(`ws://${location.host}/ws`, data => received.push(data), { silence: 6000 });
                else clients.listen('/ws', data => received.push(data), 6000);
            }
            """, client);
        await WaitAsync(() => registry.CountGroupMembers("/ws") == 1);
        var first = registry.Connections.Single().Id;
        await PublishAsync("before");
        await window.Page.WaitForFunctionAsync("() => received.length === 1");
        // The server sends no other messages, but its heartbeat messages keep the connection open.
        for (var round = 1; round <= 3; round++)
        {
            var heartbeats = await window.Page.EvaluateAsync<int>("() => heartbeats");
            await window.Page.WaitForFunctionAsync("count => heartbeats > count", heartbeats);
            await window.Page.Clock.RunForAsync(5000);
        }

        Assert.Equal(first, registry.Connections.Single().Id);

        proxy.DropResponses();
        await window.Page.Clock.ResumeAsync();
        await WaitAsync(() => registry.GetGroupMembers("/ws").Any(connection => connection.Id != first));
        // On a busy machine, the client can miss heartbeat messages and connect again. It then misses a message.
        var published = new List<string> { "before" };
        for (var number = 1; await window.Page.EvaluateAsync<int>("() => received.length") < 2; number++)
        {
            Assert.InRange(number, 1, TestLimits.Wait.TotalSeconds);
            published.Add($"after {number}");
            await PublishAsync(published[^1]);
            await window.Page.WaitForTimeoutAsync(1000);
        }

        var received = await window.Page.EvaluateAsync<string[]>("() => received");
        Assert.Equal(published.Where(received.Contains), received);
        Assert.Equal("before", received[0]);

        async Task PublishAsync(string text) => await app.Services.GetRequiredService<IBroadcaster>()
            .PublishAsync(text, Recipients.Group("/ws"), cancellationToken: token);
    }

    [Theory]
    [InlineData("connect")]
    [InlineData("follow")]
    public async Task Client_ServerIsAlwaysSilent_ConnectsAgainEachTime(string client)
    {
        await using var app = await StartAsync(static options => { });
        await using var window = await browser.OpenAsync(new Uri(app.Urls.Single()));
        await window.Page.EvaluateAsync("""
            async client => {
                const clients = await import('/clients.js');
                window.ends = 0;
                window.WebSocket = class extends WebSocket {
                    constructor(...parameters) {
                        super(...parameters);
                        this.addEventListener('close', () => ends++);
                    }
                };
                const url = `ws://${location.host}/ws`;
                if (client === 'connect') clients.connect(url, () => {}, { silence: 1000 });
                else clients.follow(url, () => {}, () => {}, { silence: 1000 });
            }
            """, client);
        // The server answers each close frame of the client with code 1000.
        await window.Page.WaitForFunctionAsync("() => ends >= 3");
    }

    [Theory]
    [InlineData(1008)]
    [InlineData(4001)]
    public async Task Listen_FinalClose_DoesNotConnectAgain(int code)
    {
        var token = TestContext.Current.CancellationToken;
        await using var app = await StartAsync(static options => { });
        await using var window = await browser.OpenAsync(new Uri(app.Urls.Single()));
        var registry = app.Services.GetRequiredService<IConnectionRegistry>();
        await window.Page.Clock.InstallAsync();
        await window.Page.EvaluateAsync("""
            async () => {
                const { listen } = await import('/clients.js');
                [window.opened, window.isOpen, window.isClosed] = [0, false, false];
                window.EventSource = class extends EventSource {
                    constructor(url) {
                        super(url);
                        opened++;
                        this.addEventListener('open', () => isOpen = true);
                        this.addEventListener('close', () => isClosed = true);
                    }
                };
                listen('/ws', () => {}, 600_000);
            }
            """);
        await WaitAsync(() => registry.CountGroupMembers("/ws") == 1);
        // Before the response has started, the server would answer with an HTTP status instead of an event.
        await window.Page.WaitForFunctionAsync("() => isOpen");
        await app.Services.GetRequiredService<IBroadcaster>()
            .CloseAsync(registry.Connections.Single().Id, (WebSocketCloseStatus)code, cancellationToken: token);
        await window.Page.WaitForFunctionAsync("() => isClosed");
        // Without a final close, the client would now open another event source.
        await window.Page.Clock.FastForwardAsync("00:11:00");
        Assert.Equal(1, await window.Page.EvaluateAsync<int>("() => opened"));
        await WaitAsync(() => registry.Count == 0);
    }

    [Fact]
    public async Task Listen_AuthenticationEnds_ConnectsAgain()
    {
        var token = TestContext.Current.CancellationToken;
        await using var app = await StartAsync(static options => { });
        await using var window = await browser.OpenAsync(new Uri(app.Urls.Single()));
        var registry = app.Services.GetRequiredService<IConnectionRegistry>();
        await window.Page.EvaluateAsync("async () => (await import('/clients.js')).listen('/ws', () => {}, 600_000)");
        await WaitAsync(() => registry.CountGroupMembers("/ws") == 1);
        var first = registry.Connections.Single().Id;
        await app.Services.GetRequiredService<IBroadcaster>().EndAuthenticationAsync(first, token);
        await WaitAsync(() => registry.GetGroupMembers("/ws").Any(connection => connection.Id != first));
    }

    [Fact]
    public async Task Follow_ConnectionsBreak_ReceivesEachMessageOnce()
    {
        const int Messages = 2_000;
        var token = TestContext.Current.CancellationToken;
        await using var app = await StartAsync(options =>
        {
            options.AllowedOrigins.Add("*"); // The page connects through the proxy, which has another port.
            options.Groups["/ws"] = new() { HistoryMessages = Messages, HistoryBytes = 16 * 1024 * 1024, ReplayOnJoin = Messages };
        });
        Fault[] faults =
        [
            new(FaultKind.Reset, 100), new(FaultKind.End, 5_000), new(FaultKind.Reset, 40_001), new(FaultKind.ClientReset, 333),
            new(FaultKind.End, 12_345), new(FaultKind.Reset, 7_000),
        ];
        await using var proxy = new FaultProxy(new Uri(app.Urls.Single()), faults, static () => Task.CompletedTask);
        proxy.Start();
        await using var window = await browser.OpenAsync(new Uri(app.Urls.Single()));
        await window.Page.EvaluateAsync("""
            async url => {
                const { follow } = await import('/clients.js');
                [window.received, window.misses] = [[], 0];
                const read = data => typeof data === 'string' ? data : `binary ${new TextDecoder().decode(data)}`;
                window.client = follow(url, data => received.push(read(data)), () => misses++);
            }
            """, $"ws://{proxy.Url.Authority}/ws?name=x");
        var broadcaster = app.Services.GetRequiredService<IBroadcaster>();
        for (var i = 0; i < Messages; i++)
        {
            var message = Message.FromText(Text(i));
            if (i % 5 == 4) message = new Message(message.Payload, MessageType.Binary);
            await broadcaster.PublishAsync(message, Recipients.Group("/ws"), token);
            // The publisher continues while the client reconnects.
            if (i % 100 == 99) await window.Page.WaitForTimeoutAsync(20);
        }

        await window.Page.WaitForFunctionAsync($"() => received.length >= {Messages}");
        await window.Page.EvaluateAsync("() => client.send('end')");
        await window.Page.WaitForFunctionAsync("() => received.at(-1) === 'end'");
        Assert.Equal(
            Enumerable.Range(0, Messages).Select(i => (i % 5 == 4 ? "binary " : "") + Text(i)).Append("end"),
            await window.Page.EvaluateAsync<string[]>("() => received"));
        Assert.Equal(0, await window.Page.EvaluateAsync<int>("() => misses"));
        Assert.Equal(faults.Length, proxy.FaultCount);

        // This text looks like a header, so a client that trusted it would report missed messages.
        static string Text(int i) => $"missed 00c0ffee00c0ffee-{i} 00c0ffee00c0ffee-{i}\n{new string('x', i % 100)}";
    }

    [Fact]
    public async Task Follow_HistoryIsTooShort_ReportsMissedMessages()
    {
        var token = TestContext.Current.CancellationToken;
        await using var app = await StartAsync(options => options.Groups["/ws"] = new() { HistoryMessages = 2, ReplayOnJoin = 2 });
        await using var proxy = new FaultProxy(new Uri(app.Urls.Single()), [], static () => Task.CompletedTask);
        proxy.Start();
        await using var window = await browser.OpenAsync(proxy.Url);
        var registry = app.Services.GetRequiredService<IConnectionRegistry>();
        await window.Page.EvaluateAsync("""
            async () => {
                const { follow } = await import('/clients.js');
                window.received = [];
                follow(`ws://${location.host}/ws`, data => received.push(data), () => received.push('MISSED'), { silence: 15000 });
            }
            """);
        await WaitAsync(() => registry.CountGroupMembers("/ws") == 1);
        var first = registry.Connections.Single().Id;
        await PublishAsync("1");
        await window.Page.WaitForFunctionAsync("() => received.length === 1");
        proxy.DropResponses();
        for (var i = 2; i <= 5; i++) await PublishAsync($"{i}");
        await window.Page.WaitForFunctionAsync("() => received.length >= 4");
        Assert.Equal(["1", "MISSED", "4", "5"], await window.Page.EvaluateAsync<string[]>("() => received"));
        Assert.Contains(registry.Connections, connection => connection.Id != first);

        async Task PublishAsync(string text) => await app.Services.GetRequiredService<IBroadcaster>()
            .PublishAsync(text, Recipients.Group("/ws"), cancellationToken: token);
    }

    /// <summary>Starts an app with a page, the URL /ws and the clients of docs/guides/clients.md.</summary>
    static async Task<WebApplication> StartAsync(Action<BroadcastOptions> configure, string page = "")
    {
        var script = string.Concat(Blocks().Matches(await ReadAsync("clients.md")).Select(match => match.Groups[1].Value));
        var builder = WebApplication.CreateSlimBuilder();
        builder.Logging.ClearProviders();
        builder.WebHost.UseUrls("http://127.0.0.1:0");
        builder.Services.AddBroadcast(configure);
        var app = builder.Build();
        app.MapGet("/", () => Results.Content(page, "text/html"));
        app.MapGet("/favicon.ico", static () => Results.NoContent());
        app.MapGet("/clients.js", () => Results.Text(script, "text/javascript"));
        app.MapBroadcast("/ws");
        await app.StartAsync(TestContext.Current.CancellationToken);
        return app;
    }

    static Task<string> ReadAsync(string document) =>
        File.ReadAllTextAsync(Path.Combine(AppContext.BaseDirectory, document), TestContext.Current.CancellationToken);

    static async Task WaitAsync(Func<bool> condition)
    {
        using var limit = CancellationTokenSource.CreateLinkedTokenSource(TestContext.Current.CancellationToken);
        limit.CancelAfter(TestLimits.Wait);
        while (!condition()) await Task.Delay(20, limit.Token);
    }

    [GeneratedRegex("```js\n(export .*?)```", RegexOptions.Singleline)]
    private static partial Regex Blocks();

    [GeneratedRegex("```html\n(.*?)```", RegexOptions.Singleline)]
    private static partial Regex HtmlBlock();
}
