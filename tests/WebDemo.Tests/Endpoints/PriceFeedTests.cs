using System.Diagnostics;
using System.Net.Http.Json;
using System.Net.WebSockets;
using System.Text.Json;

namespace WebDemo.Tests;

/// <summary>Tests the price feed at /prices.</summary>
public sealed class PriceFeedTests(DemoServer server)
{
    [Fact]
    public async Task Send_ToReadOnlyUrl_ClosesSenderWithReason()
    {
        using var socket = await server.ConnectAsync("/prices");
        await socket.SendTextAsync("hello");
        while ((await socket.ReceiveMessageAsync()).Type != WebSocketMessageType.Close)
        {
            // Skip the prices before the close frame.
        }

        Assert.Equal(WebSocketCloseStatus.PolicyViolation, socket.CloseStatus);
        Assert.Equal("This URL is read-only. Do not send messages.", socket.CloseStatusDescription);
    }

    [Fact]
    public async Task Connect_FirstOrSecondClient_StartsWithOnePriceOfEachSymbol()
    {
        await using var own = await DemoServer.CreateAsync();
        for (var client = 0; client < 2; client++)
        {
            using var socket = await own.ConnectAsync("/prices");
            var symbols = new HashSet<string>();
            // The feed chooses symbols at random. So without retained prices, the first 50 prices of a client would repeat symbols.
            for (var i = 0; i < 50; i++) symbols.Add((await socket.ReceiveJsonAsync()).GetProperty("symbol").GetString()!);
            Assert.Equal(50, symbols.Count);
        }
    }

    [Fact]
    public async Task Feed_RedisIsDown_WarnsAndKeepsHostRunning()
    {
        // Nothing listens on port 1.
        await using var own = await DemoServer.CreateAsync(
            "--Broadcast:Redis:Configuration=127.0.0.1:1,abortConnect=false", "--Broadcast:Redis:PublishTimeout=00:00:00.1");

        await own.WaitForOutputAsync("The price feed could not publish a price, and continues.");

        Assert.Equal(0, await own.CountAsync());
        // SIGTERM ends the host only if the host is still running.
        Assert.Equal(0, await own.StopAsync());
    }

    [Fact]
    public async Task Feed_GroupRetainsOnlyTenKeys_PublishesTenSymbolsAndKeepsHostRunning()
    {
        await using var own = await DemoServer.CreateAsync("--Broadcast:Groups:/prices:MaxRetainedKeys=10");
        await own.WaitForOutputAsync("continues. The group '/prices' cannot retain the message. The group would have 11 keys");
        var symbols = new HashSet<string>();
        using (var socket = await own.ConnectAsync("/prices"))
        {
            // The client first receives the ten retained prices, and then new prices of the same symbols.
            for (var i = 0; i < 40; i++) symbols.Add((await socket.ReceiveJsonAsync()).GetProperty("symbol").GetString()!);
        }

        Assert.Equal(10, symbols.Count);
        Assert.Equal(0, await own.StopAsync());
    }

    [Fact]
    public async Task Feed_OnlyOtherNodeHasMembers_Publishes()
    {
        using var redis = new RedisServer();
        await using var feed = await DemoServer.CreateAsync(redis.NodeSettings.Select(static setting => setting.Replace("--Prices=false", "--Prices=true", StringComparison.Ordinal)));
        await using var other = await DemoServer.CreateAsync(redis.NodeSettings);
        using var socket = await other.ConnectAsync("/prices");

        // The client first receives the retained price of each of the 50 symbols.
        for (var i = 0; i < 70; i++) await socket.ReceiveTextAsync();
    }

    [Fact]
    public async Task Filter_SymbolsAndMarket_ReceivesOnlyMatchingPrices()
    {
        using var socket = await server.ConnectAsync("/prices?filter=symbol%20in%20(FJORD,%20MAPLE)%20and%20market%20!=%20north");
        var symbols = new HashSet<string>();
        for (var i = 0; i < 5; i++)
        {
            using var update = JsonDocument.Parse(await socket.ReceiveTextAsync());
            symbols.Add(update.RootElement.GetProperty("symbol").GetString()!);
        }

        // In appsettings.json, the market of FJORD is north, and the market of MAPLE is south.
        Assert.Equal(["MAPLE"], symbols);
    }

    [Fact]
    public async Task Feed_NoMembers_PublishesNothing()
    {
        // A history keeps the offsets of the group while the group is empty.
        await using var own = await DemoServer.CreateAsync("--Broadcast:Groups:/prices:HistoryMessages=1000");
        using (var one = await own.ConnectAsync("/prices")) await one.ReceiveTextAsync();
        await own.WaitForCountAsync("/prices", 0);
        var (first, last, posts) = (await PostAsync(), 0L, 0);
        for (var watch = Stopwatch.StartNew(); watch.ElapsedMilliseconds < 1000; posts++) last = await PostAsync();

        // Nearly all new offsets belong to messages of this test. An active feed would add 200 messages per second.
        Assert.InRange(first, 2, long.MaxValue);
        Assert.InRange(last - first - posts, 0, 20);

        async Task<long> PostAsync()
        {
            using var response = await own.Http.PostAsync("/publish?group=/prices", new StringContent("x"), TestContext.Current.CancellationToken);
            var body = await response.Content.ReadFromJsonAsync<JsonElement>(TestContext.Current.CancellationToken);
            return body.GetProperty("offset").GetInt64();
        }
    }
}
