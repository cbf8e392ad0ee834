using System.Net;
using System.Net.WebSockets;
using System.Text;
using Broadcast.Middleware.Redis.Tests.Infrastructure;
using Microsoft.AspNetCore.Builder;
using Microsoft.AspNetCore.Hosting;
using Microsoft.Extensions.DependencyInjection;
using Microsoft.Extensions.Logging;

namespace Broadcast.Middleware.Redis.Tests.Publishing;

/// <summary>Tests subscription filters in apps that share a Redis server.</summary>
public sealed class SubscriptionFilterTests : RedisTest
{
    [Fact]
    public async Task Publish_FromOtherNode_FiltersHistoryAndLiveMessages()
    {
        await using var publisher = await StartAppAsync();
        await using var node = await StartAppAsync();
        // This node loads the history from Redis, so the stored messages must have their tags.
        var broadcaster = publisher.Services.GetRequiredService<IBroadcaster>();
        PublishResult last = default;
        for (var i = 1; i <= 20; i++) last = await PublishAsync(broadcaster, i);
        using var client = new ClientWebSocket();
        await client.ConnectAsync(new Uri(node.Urls.Single().Replace("http:", "ws:", StringComparison.Ordinal) + $"{Group}?filter=digit=1"), Token);
        Assert.Equal(["1", "11"], [await ReceiveAsync(client), await ReceiveAsync(client)]);
        for (var i = 21; i <= 42; i++) last = await PublishAsync(broadcaster, i);
        Assert.Equal(["21", "31", "41"], [await ReceiveAsync(client), await ReceiveAsync(client), await ReceiveAsync(client)]);
        // The rejected messages also have positions.
        Assert.Equal(42, last.Position?.Offset);
    }

    [Fact]
    public async Task Join_RetainedValuesFromRedis_FiltersValuesAndLiveMessages()
    {
        await using var publisher = await StartAppAsync(retains: true);
        await using var node = await StartAppAsync(retains: true);
        // Each message has its own key, so the group retains all messages. The node loads these messages from Redis,
        // without the history.
        var broadcaster = publisher.Services.GetRequiredService<IBroadcaster>();
        for (var i = 1; i <= 20; i++) await PublishAsync(broadcaster, i, $"{i}");
        using var client = new ClientWebSocket();
        await client.ConnectAsync(new Uri(node.Urls.Single().Replace("http:", "ws:", StringComparison.Ordinal) + $"{Group}?filter=digit=1"), Token);
        Assert.Equal(["1", "11"], [await ReceiveAsync(client), await ReceiveAsync(client)]);
        for (var i = 21; i <= 31; i++) await PublishAsync(broadcaster, i, "a");
        Assert.Equal(["21", "31"], [await ReceiveAsync(client), await ReceiveAsync(client)]);
    }

    static async Task<PublishResult> PublishAsync(IBroadcaster broadcaster, int id, string? key = null)
    {
        var message = Message.FromText($"{id}") with { Key = key, Tags = MessageTags.Create(("digit", $"{id % 10}")) };
        return await broadcaster.PublishAsync(message, Recipients.Group(Group), Token);
    }

    static async Task<string> ReceiveAsync(ClientWebSocket client)
    {
        var buffer = new byte[100];
        var received = await client.ReceiveAsync(buffer, Token).WaitAsync(TestNode.Patience, Token);
        return Encoding.UTF8.GetString(buffer, 0, received.Count);
    }

    async Task<WebApplication> StartAppAsync(bool retains = false)
    {
        var builder = WebApplication.CreateSlimBuilder();
        builder.Logging.ClearProviders();
        builder.WebHost.ConfigureKestrel(static kestrel => kestrel.Listen(IPAddress.Loopback, 0));
        builder.Services.AddBroadcast(options =>
        {
            options.AllowClientFilters = true;
            options.DrainTimeout = TimeSpan.Zero;
            options.Groups[Group] = retains
                ? new() { RetainLatestPerKey = true }
                : new() { HistoryMessages = 100, ReplayOnJoin = 100, HistoryAge = Timeout.InfiniteTimeSpan };
        }).AddRedis(Redis.Configuration, static options => (options.Prefix, options.PublishTimeout) = ("test", TimeSpan.FromSeconds(20)));
        var app = builder.Build();
        app.MapBroadcast(Group);
        await app.StartAsync(Token);
        return app;
    }
}
