using System.Globalization;

namespace WebDemo.Tests;

/// <summary>The EventSource client of a browser.</summary>
public sealed class EventSourceTests(BrowserFixture browser)
{
    [Fact]
    public async Task Reconnect_TransportCutSeveralTimes_ReceivesEachMessageOnce()
    {
        const int Cuts = 3;
        var token = TestContext.Current.CancellationToken;
        await using var server = await DemoServer.CreateAsync(
            "--Broadcast:Groups:/ws:HistoryMessages=100000", "--Broadcast:Groups:/ws:HistoryBytes=16777216");
        // Small chunks let a cut fall into the middle of a message.
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

        // The browser waits three seconds before each reconnect. The server publishes all the time.
        var published = 0;
        using var stop = CancellationTokenSource.CreateLinkedTokenSource(token);
        var publishing = Task.Run(async () =>
        {
            // The proxy relays small chunks, so the publisher must not be faster.
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

        await stop.CancelAsync();
        await publishing;
        await ann.Page.WaitForFunctionAsync("count => received.length >= count", published);

        var received = await ann.Page.EvaluateAsync<string[]>("() => received");
        Assert.Equal(Enumerable.Range(0, published), received.Select(data => int.Parse(data.Split('\n')[0], CultureInfo.InvariantCulture)));
        Assert.Empty(await ann.Page.EvaluateAsync<string[]>("() => otherEvents"));
        Assert.True(published > Cuts * 100, $"Expected more than {Cuts * 100} messages, but only {published} were published.");

        async Task<int> CountReceivedAsync() => await ann.Page.EvaluateAsync<int>("() => received.length");
    }
}
