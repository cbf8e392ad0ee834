using Broadcast.Middleware.Redis.Storage;
using Broadcast.Middleware.Redis.Tests.Infrastructure;

namespace Broadcast.Middleware.Redis.Tests.Storage;

/// <summary>
/// Tests groups that keep a history but have no messages. Clients create such groups when they open URLs.
/// </summary>
public sealed class EmptyGroupTests : RedisTest
{
    static readonly GroupOptions Infinite = new() { HistoryMessages = 10, HistoryAge = Timeout.InfiniteTimeSpan };

    // RepairAge has its default of 1 minute. Redis keeps the state of an empty group for 1 minute longer than
    // RepairAge.
    static readonly TimeSpan MaxLifetime = TimeSpan.FromMinutes(2);

    [Theory]
    [InlineData(null)]
    [InlineData(30)]
    public async Task Subscribe_ToEmptyGroups_LeavesOnlyKeysThatExpire(int? historyDays)
    {
        const int Groups = 200;
        var history = historyDays is { } days ? new() { HistoryMessages = 10, HistoryAge = TimeSpan.FromDays(days) } : Infinite;
        var node = StartNode();
        await Task.WhenAll(Enumerable.Range(0, Groups).Select(async i =>
        {
            await node.SubscribeAsync($"/rooms/{i}", history);
            node.Unsubscribe($"/rooms/{i}");
        }));
        await using var connection = await Redis.ConnectAsync();
        var database = connection.GetDatabase();
        var count = 0;
        await foreach (var key in connection.GetServers()[0].KeysAsync(pattern: "test::{g:/rooms/*"))
        {
            var lifetime = await database.KeyTimeToLiveAsync(key);
            Assert.NotNull(lifetime);
            Assert.InRange(lifetime.Value, TimeSpan.FromSeconds(1), MaxLifetime);
            count++;
        }

        Assert.Equal(Groups, count);
    }

    [Fact]
    public async Task EmptyGroup_WithSubscriber_RenewsExpirationOfState()
    {
        var node = StartNode();
        await node.SubscribeAsync(Group, Infinite);
        await using var connection = await Redis.ConnectAsync();
        var database = connection.GetDatabase();
        await database.KeyExpireAsync(Keys.State, TimeSpan.FromSeconds(30));
        await TestNode.EventuallyAsync(
            async () => await database.KeyTimeToLiveAsync(Keys.State) > TimeSpan.FromMinutes(1),
            "A check renews the expiration.");
    }

    [Fact]
    public async Task FirstMessage_WithInfiniteHistory_RemovesExpirationOfGroup()
    {
        var node = StartNode();
        await node.SubscribeAsync(Group, Infinite);
        await node.PublishAsync(Group, "1", Infinite);
        node.Unsubscribe(Group);
        await using var connection = await Redis.ConnectAsync();
        var database = connection.GetDatabase();
        await database.ScriptEvaluateAsync(Scripts.RenewEmptyGroup, [Keys.State], [1]);
        Assert.Equal(1, (await node.SubscribeAsync(Group, Infinite)).Position.Offset);
        foreach (var key in new[] { Keys.State, Keys.Stream, Keys.Index })
        {
            Assert.True(await database.KeyExistsAsync(key));
            Assert.Null(await database.KeyTimeToLiveAsync(key));
        }
    }
}
