using System.Diagnostics;
using System.Net.Http.Json;
using System.Net.WebSockets;
using System.Text.Json;
using Microsoft.Playwright;
using static Microsoft.Playwright.Assertions;

namespace WebDemo.Tests;

[Collection<PageCollection>]
public sealed class PricesTests(Demo demo, Chromium chromium) : IClassFixture<Demo>
{
    const int Symbols = 50;

    [Fact]
    public async Task All_50_prices_move_and_say_which_way()
    {
        await using var ann = await OpenAsync(demo.Url);
        await SeesAllMoveAsync(ann);
        Assert.All(await ann.Page.Locator(".tile").AllInnerTextsAsync(), static text => Assert.Matches(@"^[A-Z]{5}\s+[▲▼]\s+\d+\.\d\d$", text));
        var names = await ann.Page.Locator(".tile b").AllInnerTextsAsync();
        Assert.Equal(names.Order(StringComparer.Ordinal), names);
    }

    [Fact]
    public async Task The_chart_shows_the_symbol_that_is_chosen()
    {
        await using var ann = await OpenAsync(demo.Url);
        foreach (var name in new[] { "MAPLE", "FJORD" })
        {
            await ann.Page.GetByRole(AriaRole.Radio, new() { Name = name }).CheckAsync();
            await Expect(ann.Page.Locator("#chosen")).ToHaveTextAsync(name);
            // The price in words is that of the table, and the line's colour is somewhere in the picture.
            await ann.Page.WaitForFunctionAsync("""
                name => [...document.querySelectorAll(".tile")].some(tile => tile.innerText.startsWith(name) && tile.innerText.endsWith(document.getElementById("price").textContent))
                """, name);
            await ann.Page.WaitForFunctionAsync("""
                () => {
                  const canvas = document.querySelector("#chart canvas");
                  const { data } = canvas.getContext("2d").getImageData(0, 0, canvas.width, canvas.height);
                  for (let i = 0; i < data.length; i += 4) if (data[i] === 0x3b && data[i + 1] === 0x4c && data[i + 2] === 0xca) return true;
                }
                """);
        }
    }

    /// <summary>2,000 bytes a second are an eighth of what is published. A backlog would grow by most of a second each second.</summary>
    /// <remarks>
    /// Chromium's own throttle would not do: it slows WebSockets, but lets itself and the system buffer what a minute and more of it takes.
    /// </remarks>
    [Fact(Timeout = 180_000)]
    public async Task A_tab_on_a_thin_line_shows_recent_prices_and_nobody_else_notices()
    {
        await using var line = new ThinLine(demo.Url);
        await using var thin = await OpenAsync(line.Url);
        await using var wide = await OpenAsync(demo.Url);
        foreach (var visitor in new[] { thin, wide }) await SeesAllMoveAsync(visitor);
        line.BytesPerSecond = 2000;
        var thinSince = (await AgesAsync(thin)).Now;

        // Forty seconds of prices later, however long they take to arrive.
        await thin.Page.WaitForFunctionAsync(
            "until => [...document.querySelectorAll('.tile')].every(tile => tile.dataset.time > until)", thinSince + 40_000, new() { Timeout = 150_000 })
            .WaitAsync(TestContext.Current.CancellationToken);
        var wideIsAt = (await AgesAsync(wide)).Ages.Max();
        var ages = (await AgesAsync(thin)).Ages;
        TestContext.Current.TestOutputHelper?.WriteLine($"thin: {ages.Min()} to {ages.Max()} ms old; wide: at most {wideIsAt} ms");

        // What the buffers in between hold, some 20 KB, takes ten seconds; one price of each of all symbols takes two.
        Assert.InRange(ages.Max(), 0, 16_000);
        Assert.InRange(wideIsAt, 0, 3_000);
        await SeesAllMoveAsync(wide);
        await Expect(thin.State).ToHaveTextAsync("Connected");
        await Expect(thin.Page.Locator("#problem")).ToBeHiddenAsync();

        // Once the line is wide again, so is the view.
        line.BytesPerSecond = int.MaxValue;
        await thin.Page.WaitForFunctionAsync("() => [...document.querySelectorAll('.tile')].every(tile => Date.now() - tile.dataset.time < 2000)");
    }

    [Fact]
    public async Task Who_speaks_is_told_that_it_is_for_listening()
    {
        using var socket = await demo.ConnectAsync("/prices");
        await socket.SendAsync("hello");
        while ((await socket.ReceiveAsync()).Type != WebSocketMessageType.Close)
        {
            // Prices.
        }

        Assert.Equal(WebSocketCloseStatus.PolicyViolation, socket.CloseStatus);
        Assert.Equal("This URL is for listening.", socket.CloseStatusDescription);
    }

    [Fact]
    public async Task The_market_rests_while_nobody_listens()
    {
        // A history lets the group count on without members.
        await using var own = new Demo();
        await own.StartAsync("--Broadcast:Groups:/prices:HistoryMessages=1000");
        using (var one = await own.ConnectAsync("/prices")) await one.ReceiveTextAsync();
        await own.WaitForCountAsync("/prices", 0);
        var (first, last, posts) = (await PostAsync(), 0L, 0);
        for (var watch = Stopwatch.StartNew(); watch.ElapsedMilliseconds < 1000; posts++) last = await PostAsync();

        // Ours, and at most what was under way; otherwise there would be 200 more.
        Assert.InRange(first, 2, long.MaxValue);
        Assert.InRange(last - first - posts, 0, 20);

        async Task<long> PostAsync()
        {
            using var response = await own.Http.PostAsync("/publish?group=/prices", new StringContent("x"), TestContext.Current.CancellationToken);
            var answer = await response.Content.ReadFromJsonAsync<JsonElement>(TestContext.Current.CancellationToken);
            return answer.GetProperty("offset").GetInt64();
        }
    }

    async Task<Visitor> OpenAsync(Uri url)
    {
        var visitor = await chromium.OpenPageAsync(new(url, "/prices.html"), window: new() { ColorScheme = ColorScheme.Light });
        await Expect(visitor.State).ToHaveTextAsync("Connected");
        await Expect(visitor.Page.Locator(".tile")).ToHaveCountAsync(Symbols);
        return visitor;
    }

    static async Task SeesAllMoveAsync(Visitor visitor)
    {
        await Expect(visitor.Page.Locator(".tile")).ToHaveCountAsync(Symbols);
        var before = await visitor.Page.Locator(".tile span").AllInnerTextsAsync();
        await visitor.Page.WaitForFunctionAsync("""
            before => {
              const moved = window.moved ??= new Set();
              [...document.querySelectorAll(".tile span")].forEach((price, index) => price.innerText !== before[index] && moved.add(index));
              return moved.size === before.length && delete window.moved;
            }
            """, before);
    }

    static async Task<(double Now, double[] Ages)> AgesAsync(Visitor visitor)
    {
        var times = await visitor.Page.EvaluateAsync<double[]>("() => [Date.now(), ...[...document.querySelectorAll('.tile')].map(tile => Number(tile.dataset.time))]");
        return (times[0], [.. times.Skip(1).Select(time => times[0] - time)]);
    }
}
