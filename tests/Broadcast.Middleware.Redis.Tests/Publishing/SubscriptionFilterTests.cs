using System.Net;
using System.Net.WebSockets;
using System.Text;
using System.Text.Json;
using Broadcast.Middleware.Redis.Tests.Infrastructure;
using Microsoft.AspNetCore.Builder;
using Microsoft.AspNetCore.Hosting;
using Microsoft.Extensions.DependencyInjection;
using Microsoft.Extensions.Logging;

namespace Broadcast.Middleware.Redis.Tests.Publishing;

/// <summary>Tests subscription filters and retained values in apps that share a Redis server.</summary>
public sealed class SubscriptionFilterTests : RedisTest
{
    static readonly HttpClient _http = new();

    [Fact]
    public async Task Publish_FromOtherNode_FiltersHistoryAndLiveMessages()
    {
        await using var publisher = await StartAppAsync();
        await using var node = await StartAppAsync();
        // This node loads the history from Redis, so the stored messages must have their tags.
        var broadcaster = publisher.Services.GetRequiredService<IBroadcaster>();
        PublishResult last = default;
        for (var i = 1; i <= 20; i++) last = await PublishAsync(broadcaster, i);
        using var client = await ConnectAsync(node);
        Assert.Equal(["1", "11"], [await ReceiveAsync(client), await ReceiveAsync(client)]);
        for (var i = 21; i <= 42; i++) last = await PublishAsync(broadcaster, i);
        Assert.Equal(["21", "31", "41"], [await ReceiveAsync(client), await ReceiveAsync(client), await ReceiveAsync(client)]);
        // The rejected messages also have positions.
        Assert.Equal(42, last.Position?.Offset);
    }

    [Fact]
    public async Task Join_RetainedValuesFromRedis_EachKindOfClientReceivesAcceptedValuesAndLiveMessages()
    {
        await using var publisher = await StartAppAsync(retains: true);
        await using var node = await StartAppAsync(retains: true);
        // Each message has its own key, so the group retains all messages. The node loads these messages from Redis,
        // without the history.
        var broadcaster = publisher.Services.GetRequiredService<IBroadcaster>();
        for (var i = 1; i <= 20; i++) await PublishAsync(broadcaster, i, $"{i}");
        using var raw = await ConnectAsync(node);
        using var structured = await ConnectAsync(node, "json.webpubsub.azure.v1");
        using var reliable = await ConnectAsync(node, "json.reliable.webpubsub.azure.v1");
        using var events = await OpenEventsAsync(node, "filter=digit=1");
        Assert.Equal(["1", "11"], [await ReceiveAsync(raw), await ReceiveAsync(raw)]);
        Assert.Contains("\"connected\"", await ReceiveAsync(structured), StringComparison.Ordinal);
        Assert.Equal(["1", "11"], [await ReceiveDataAsync(structured), await ReceiveDataAsync(structured)]);
        using var connected = JsonDocument.Parse(await ReceiveAsync(reliable));
        Assert.Equal(["1", "11"], [await ReceiveDataAsync(reliable), await ReceiveDataAsync(reliable)]);
        Assert.Equal(["1", "11"], [await ReceiveEventAsync(events), await ReceiveEventAsync(events)]);

        // The reliable client reconnects. It has not acknowledged the values, so it receives the values again.
        reliable.Abort();
        var (id, token) = (connected.RootElement.GetProperty("connectionId"), connected.RootElement.GetProperty("reconnectionToken"));
        using var again = await ConnectAsync(node, "json.reliable.webpubsub.azure.v1", $"awps_connection_id={id}&awps_reconnection_token={token}");
        Assert.Contains("\"connected\"", await ReceiveAsync(again), StringComparison.Ordinal);
        for (var i = 21; i <= 31; i++) await PublishAsync(broadcaster, i, "a");
        foreach (var text in new[] { "1", "11", "21", "31" }) Assert.Equal(text, await ReceiveDataAsync(again));
        Assert.Equal(["21", "31"], [await ReceiveAsync(raw), await ReceiveAsync(raw)]);
        Assert.Equal(["21", "31"], [await ReceiveDataAsync(structured), await ReceiveDataAsync(structured)]);
        Assert.Equal(["21", "31"], [await ReceiveEventAsync(events), await ReceiveEventAsync(events)]);
    }

    /// <summary>The recovery runs on a node that has loaded the group from Redis.</summary>
    [Fact]
    public async Task Recover_RetainedValuesFromRedis_ReceivesMissedMessagesOrValues()
    {
        const string Positions = "positions.broadcast.v1";
        await using var publisher = await StartAppAsync(retains: true, historyMessages: 2);
        var broadcaster = publisher.Services.GetRequiredService<IBroadcaster>();
        foreach (var text in new[] { "a1", "b1", "c1", "a2" })
            await broadcaster.PublishAsync(Message.FromText(text) with { Key = text[..1] }, Recipients.Group(Group), Token);
        var removal = Message.FromText("b removed") with { Key = "b", RemoveKey = true };
        var epoch = (await broadcaster.PublishAsync(removal, Recipients.Group(Group), Token)).Position!.Value.ToString().Split('-')[0];
        await using var node = await StartAppAsync(retains: true, historyMessages: 2);

        // A new client receives the newest message of each key. The key b has no message.
        using var joined = await ConnectAsync(node, Positions, "");
        await ReceivesAsync(joined, $"joined {epoch}-2 {epoch}-5\n", $"{epoch}-3\nc1", $"{epoch}-4\na2");
        // The history has the last two messages.
        using var recovered = await ConnectAsync(node, Positions, $"after={epoch}-3");
        await ReceivesAsync(recovered, $"recovered {epoch}-3 {epoch}-5\n", $"{epoch}-4\na2", $"{epoch}-5\nb removed");
        using var missed = await ConnectAsync(node, Positions, $"after={epoch}-1");
        await ReceivesAsync(missed, $"missed {epoch}-2 {epoch}-5\n", $"{epoch}-3\nc1", $"{epoch}-4\na2");
        using var recoveredStream = await OpenEventsAsync(node, after: $"{epoch}-3");
        foreach (var text in new[] { "a2", "b removed" }) Assert.Equal(text, await ReceiveEventAsync(recoveredStream));
        using var missedStream = await OpenEventsAsync(node, after: $"{epoch}-1");
        foreach (var text in new[] { "unknown", "c1", "a2" }) Assert.Equal(text, await ReceiveEventAsync(missedStream));

        await broadcaster.PublishAsync(Message.FromText("a3") with { Key = "a" }, Recipients.Group(Group), Token);
        foreach (var client in new[] { joined, recovered, missed }) await ReceivesAsync(client, $"{epoch}-6\na3");
        foreach (var stream in new[] { recoveredStream, missedStream }) Assert.Equal("a3", await ReceiveEventAsync(stream));

        static async Task ReceivesAsync(ClientWebSocket client, params string[] texts)
        {
            foreach (var text in texts) Assert.Equal(text, await ReceiveAsync(client));
        }
    }

    static async Task<StreamReader> OpenEventsAsync(WebApplication node, string query = "", string? after = null)
    {
        using var request = new HttpRequestMessage(HttpMethod.Get, $"{node.Urls.Single()}{Group}?{query}") { Headers = { Accept = { new("text/event-stream") } } };
        if (after is not null) request.Headers.Add("Last-Event-ID", after);
        var response = await _http.SendAsync(request, HttpCompletionOption.ResponseHeadersRead, Token).WaitAsync(TestNode.Patience, Token);
        return new(await response.Content.ReadAsStreamAsync(Token));
    }

    static async Task<ClientWebSocket> ConnectAsync(WebApplication node, string? subprotocol = null, string query = "filter=digit=1")
    {
        var client = new ClientWebSocket();
        if (subprotocol is not null) client.Options.AddSubProtocol(subprotocol);
        var url = node.Urls.Single().Replace("http:", "ws:", StringComparison.Ordinal);
        await client.ConnectAsync(new Uri($"{url}{Group}?{query}"), Token).WaitAsync(TestNode.Patience, Token);
        return client;
    }

    static async Task<PublishResult> PublishAsync(IBroadcaster broadcaster, int id, string? key = null)
    {
        var message = Message.FromText($"{id}") with { Key = key, Tags = MessageTags.Create(("digit", $"{id % 10}")) };
        return await broadcaster.PublishAsync(message, Recipients.Group(Group), Token);
    }

    static async Task<string> ReceiveAsync(ClientWebSocket client)
    {
        var buffer = new byte[1_000];
        var received = await client.ReceiveAsync(buffer, Token).WaitAsync(TestNode.Patience, Token);
        return Encoding.UTF8.GetString(buffer, 0, received.Count);
    }

    /// <summary>Returns the data of the next message of a structured client.</summary>
    static async Task<string?> ReceiveDataAsync(ClientWebSocket client)
    {
        using var message = JsonDocument.Parse(await ReceiveAsync(client));
        return message.RootElement.GetProperty("data").GetString();
    }

    /// <summary>Returns the data of the next event that has data.</summary>
    static async Task<string> ReceiveEventAsync(StreamReader events)
    {
        while (true)
        {
            var line = await events.ReadLineAsync(Token).AsTask().WaitAsync(TestNode.Patience, Token);
            Assert.NotNull(line);
            if (line.StartsWith("data: ", StringComparison.Ordinal)) return line["data: ".Length..];
        }
    }

    async Task<WebApplication> StartAppAsync(bool retains = false, int historyMessages = 0)
    {
        var builder = WebApplication.CreateSlimBuilder();
        builder.Logging.ClearProviders();
        builder.WebHost.ConfigureKestrel(static kestrel => kestrel.Listen(IPAddress.Loopback, 0));
        builder.Services.AddBroadcast(options =>
        {
            options.AllowClientFilters = true;
            options.DrainTimeout = TimeSpan.Zero;
            options.Groups[Group] = retains
                ? new() { RetainLatestPerKey = true, HistoryMessages = historyMessages }
                : new() { HistoryMessages = 100, ReplayOnJoin = 100, HistoryAge = Timeout.InfiniteTimeSpan };
        }).AddRedis(Redis.Configuration, static options => (options.Prefix, options.PublishTimeout) = ("test", TimeSpan.FromSeconds(20)));
        var app = builder.Build();
        app.MapBroadcast(Group);
        await app.StartAsync(Token);
        return app;
    }
}
