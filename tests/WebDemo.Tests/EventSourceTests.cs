using System.Globalization;

namespace WebDemo.Tests;

/// <summary>A browser's own client for server-sent events.</summary>
[Collection<PageCollection>]
public sealed class EventSourceTests(Chromium chromium)
{
    [Fact]
    public async Task It_recovers_by_itself_and_hears_each_message_once_however_often_the_line_is_cut()
    {
        const int Cuts = 3;
        var token = TestContext.Current.CancellationToken;
        await using var demo = new Demo();
        await demo.StartAsync("--Broadcast:Groups:/ws:HistoryMessages=100000", "--Broadcast:Groups:/ws:HistoryBytes=16777216");
        using var line = new UnsteadyLine(demo.Url.Port);
        line.Open();
        await using var visitor = await chromium.OpenAsync(demo, "Ann");
        await visitor.Page.GotoAsync($"http://127.0.0.1:{line.Port}/chat.html#/ws");
        await visitor.Page.EvaluateAsync("""
            () => {
                window.heard = [];
                window.other = [];
                window.opened = 0;
                window.source = new EventSource('/ws');
                source.onopen = () => opened++;
                source.onmessage = event => heard.push(event.data);
                for (const name of ['missed', 'close', 'binary']) source.addEventListener(name, event => other.push(name + event.data));
            }
            """);
        await demo.WaitForCountAsync("/ws", 1);
        await visitor.Page.WaitForFunctionAsync("() => opened === 1");

        // It waits for three seconds each time, while messages flow.
        var published = 0;
        using var stop = CancellationTokenSource.CreateLinkedTokenSource(token);
        var publishing = Task.Run(async () =>
        {
            // No faster than a line that sends a few bytes at a time takes it.
            using var pace = new PeriodicTimer(TimeSpan.FromMilliseconds(5));
            for (; !stop.IsCancellationRequested; published++)
            {
                await pace.WaitForNextTickAsync(token);
                using var text = new StringContent($"{published}\n{new string('x', published % 300)}");
                (await demo.Http.PostAsync("/publish?group=/ws", text, token)).EnsureSuccessStatusCode();
            }
        }, token);
        var random = new Random(1);
        for (var cut = 1; cut <= Cuts; cut++)
        {
            var until = await HeardAsync() + random.Next(1, 100);
            await visitor.Page.WaitForFunctionAsync("until => heard.length >= until", until);
            Assert.True(line.Cut() > 0);
            await demo.WaitForCountAsync("/ws", 0);
            line.Open();
            await visitor.Page.WaitForFunctionAsync("opens => opened === opens", cut + 1);
        }

        await stop.CancelAsync();
        await publishing;
        await visitor.Page.WaitForFunctionAsync("count => heard.length >= count", published);

        var heard = await visitor.Page.EvaluateAsync<string[]>("() => heard");
        Assert.Equal(Enumerable.Range(0, published), heard.Select(data => int.Parse(data.Split('\n')[0], CultureInfo.InvariantCulture)));
        Assert.Empty(await visitor.Page.EvaluateAsync<string[]>("() => other"));
        Assert.True(published > Cuts * 100, $"Only {published} messages flowed.");

        async Task<int> HeardAsync() => await visitor.Page.EvaluateAsync<int>("() => heard.length");
    }
}
