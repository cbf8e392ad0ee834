using System.Globalization;
using System.Net.WebSockets;
using Microsoft.AspNetCore.Builder;
using Microsoft.AspNetCore.Hosting;
using Microsoft.AspNetCore.Http;
using Microsoft.Extensions.DependencyInjection;
using Microsoft.Extensions.Logging;

namespace WebDemo.Tests;

/// <summary>Tests the EventSource client of a browser.</summary>
public sealed class EventSourceTests(BrowserFixture browser)
{
    [Fact, Trait("Run", "More")]
    public async Task Reconnect_TransportCutSeveralTimes_ReceivesEachMessageOnce()
    {
        const int Cuts = 3;
        var token = TestContext.Current.CancellationToken;
        await using var server = await DemoServer.CreateAsync(
            "--Broadcast:Groups:/ws:HistoryMessages=100000", "--Broadcast:Groups:/ws:HistoryBytes=16777216");
        // The proxy relays small chunks, so that a reset can occur in the middle of a message.
        await using var proxy = new TcpProxy(server.Url, chunkBytes: 41);
        proxy.Start();
        await using var ann = await browser.OpenChatAsync(server, "Ann");
        await ann.Page.GotoAsync(new Uri(proxy.Url, "/chat.html#/ws").AbsoluteUri);
        await ann.Page.EvaluateAsync("""
            () => {
                window.received = [];
                window.otherEvents = [];
                window.opened = 0;
                window.source = new EventSource('/ws');
                source.onopen = () => opened++;
                source.onmessage = event => received.push(event.data);
                for (const name of ['missed', 'close', 'binary']) source.addEventListener(name, event => otherEvents.push(name + event.data));
            }
            """);
        await server.WaitForCountAsync("/ws", 1);
        await ann.Page.WaitForFunctionAsync("() => opened === 1");

        // The browser waits three seconds before each reconnect. The server publishes during this time.
        var published = 0;
        using var stop = CancellationTokenSource.CreateLinkedTokenSource(token);
        var publishing = Task.Run(async () =>
        {
            // The proxy relays small chunks, so the publisher must not be faster than the proxy.
            using var pace = new PeriodicTimer(TimeSpan.FromMilliseconds(5));
            for (; !stop.IsCancellationRequested; published++)
            {
                await pace.WaitForNextTickAsync(token);
                using var text = new StringContent($"{published}\n{new string('x', published % 300)}");
                (await server.Http.PostAsync("/publish?group=/ws", text, token)).EnsureSuccessStatusCode();
            }
        }, token);
        var random = new Random(1);
        for (var cut = 1; cut <= Cuts; cut++)
        {
            var until = await CountReceivedAsync() + random.Next(1, 100);
            await ann.Page.WaitForFunctionAsync("until => received.length >= until", until);
            Assert.True(proxy.Stop() > 0);
            await server.WaitForCountAsync("/ws", 0);
            proxy.Start();
            await ann.Page.WaitForFunctionAsync("opens => opened === opens", cut + 1);
        }

        await ann.Page.WaitForFunctionAsync("count => received.length > count", Cuts * 100);
        await stop.CancelAsync();
        await publishing;
        await ann.Page.WaitForFunctionAsync("count => received.length >= count", published);

        var received = await ann.Page.EvaluateAsync<string[]>("() => received");
        Assert.Equal(Enumerable.Range(0, published), received.Select(data => int.Parse(data.Split('\n')[0], CultureInfo.InvariantCulture)));
        Assert.Empty(await ann.Page.EvaluateAsync<string[]>("() => otherEvents"));
        Assert.True(published > Cuts * 100, $"Expected more than {Cuts * 100} messages, but only {published} were published.");

        async Task<int> CountReceivedAsync() => await ann.Page.EvaluateAsync<int>("() => received.length");
    }

    [Theory]
    [InlineData("/final", "closed")]
    [InlineData("/rejected", "")]
    public async Task EventSource_FinalCloseOrRejection_DoesNotReconnect(string path, string lastEventId)
    {
        var token = TestContext.Current.CancellationToken;
        var builder = WebApplication.CreateSlimBuilder();
        builder.Logging.ClearProviders();
        builder.WebHost.UseUrls("http://127.0.0.1:0");
        builder.Services.AddBroadcast(options => options.EventStreamRetryDelay = TimeSpan.FromMilliseconds(100));
        await using var app = builder.Build();
        var requests = 0;
        app.Use((context, next) =>
        {
            if (context.Request.Path == path) Interlocked.Increment(ref requests);
            return next(context);
        });
        app.MapGet("/", () => Results.Content("<link rel=icon href=data:,>", "text/html"));
        app.MapBroadcast("/final").UseConnect(async (context, next) =>
        {
            await next(context);
            context.Close((WebSocketCloseStatus)4001, "removed");
        });
        // Reject with a normal close, because the browser reports HTTP statuses such as 403 as errors of the page.
        app.MapBroadcast("/rejected").UseConnect(static (context, _) =>
        {
            context.Close(WebSocketCloseStatus.NormalClosure);
            return Task.CompletedTask;
        });
        await app.StartAsync(token);
        await using var window = await browser.OpenAsync(new Uri(app.Urls.Single()));
        await window.Page.EvaluateAsync("""
            path => {
                window.closes = [];
                window.source = new EventSource(path);
                source.addEventListener('close', event => closes.push(event.lastEventId));
            }
            """, path);

        await window.Page.WaitForFunctionAsync("() => source.readyState === EventSource.CLOSED");

        Assert.Equal(lastEventId, string.Join(' ', await window.Page.EvaluateAsync<string[]>("() => closes")));
        Assert.Equal(lastEventId == "" ? 1 : 2, requests);
    }
}
