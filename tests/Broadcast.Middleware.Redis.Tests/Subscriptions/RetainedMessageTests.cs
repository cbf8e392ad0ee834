using Broadcast.Middleware.Redis.Tests.Infrastructure;
using StackExchange.Redis;

namespace Broadcast.Middleware.Redis.Tests.Subscriptions;

/// <summary>Tests the retained values of a group in Redis.</summary>
public sealed class RetainedMessageTests : RedisTest
{
    static readonly GroupOptions Limits = new() { RetainLatestPerKey = true, MaxRetainedKeys = 3 };

    [Fact]
    public async Task Publish_ManyInOneBatch_RetainsNewestOfEachKey()
    {
        var node = StartNode();
        for (var round = 0; round < 5; round++)
        {
            var publishes = Enumerable.Range(0, 300).Select(i => node.PublishAsync(
                Group, $"{round} {i}", Limits, i % 5 == 4 ? null : new($"{i % 5 % 3}", i % 7 == 0)));
            await Task.WhenAll(publishes);
        }

        // The newest message of each key: 298 has key 0, 297 has key 2, and 296 has key 1.
        Assert.Equal(["4 296", "4 297", "4 298"], await GetRetainedAsync(node));
        await using var connection = await Redis.ConnectAsync();
        Assert.Equal(4, await connection.GetDatabase().HashLengthAsync(Keys.Retained));
    }

    [Fact]
    public async Task Publish_BatchWithRefusedMessages_PublishesAcceptedMessagesInOrder()
    {
        var node = StartNode();
        await node.SubscribeAsync(Group, Limits);
        var publishes = Enumerable.Range(0, 100).Select(i => (Key: i % 10, Task: node.PublishAsync(Group, $"{i}", Limits, new($"{i % 10}", false)))).ToArray();
        foreach (var (key, task) in publishes)
        {
            if (key < 3) await task;
            else Assert.Contains("MaxRetainedKeys, which is 3", (await Assert.ThrowsAsync<InvalidOperationException>(() => task)).Message, StringComparison.Ordinal);
        }

        var accepted = publishes.Where(publish => publish.Key < 3).Select(publish => publish.Task.Result.Offset);
        Assert.Equal(Enumerable.Range(1, 30).Select(offset => (long)offset), accepted);
        await node.WaitForMessagesAsync(Group, 30);
        Assert.Equal(Enumerable.Range(0, 100).Where(i => i % 10 < 3).Select(i => $"{i}"), node.GetReceivedTexts(Group));
    }

    [Fact]
    public async Task Redis_ReturnsToOlderState_KeepsValuesOfThatState()
    {
        var (publisher, subscriber) = (StartNode(), StartNode());
        await publisher.PublishAsync(Group, "a1", Limits, new("a", false));
        await using var connection = await Redis.ConnectAsync();
        var database = connection.GetDatabase();
        RedisKey[] keys = [Keys.State, Keys.Stream, Keys.Index, Keys.Retained];
        var older = await Task.WhenAll(keys.Select(key => database.KeyDumpAsync(key)));
        var start = await subscriber.SubscribeAsync(Group, Limits);
        await publisher.PublishAsync(Group, "a2", Limits, new("a", false));
        await publisher.PublishAsync(Group, "b1", Limits, new("b", false));
        await subscriber.WaitForMessagesAsync(Group, 2);

        // Use a transaction, because the nodes must not see only a part of the older state.
        var restore = database.CreateTransaction();
        _ = restore.KeyDeleteAsync(keys);
        for (var i = 0; i < keys.Length; i++) _ = restore.KeyRestoreAsync(keys[i], older[i]!);
        Assert.True(await restore.ExecuteAsync());

        await subscriber.WaitForLossAsync(Group);
        subscriber.Unsubscribe(Group);
        var again = await subscriber.SubscribeAsync(Group, Limits);
        Assert.NotEqual(start.Position.Epoch, again.Position.Epoch);
        Assert.Equal((1, 1L), (again.Retained.Count, again.Retained[0].Offset));
        // The new epoch continues with the offset of the older state.
        Assert.Equal(new Position(again.Position.Epoch, 2), await publisher.PublishAsync(Group, "c1", Limits, new("c", false)));
        await TestNode.EventuallyAsync(() => new(subscriber.GetReceivedTexts(Group).Contains("c1")), "The subscriber receives the next message.");
        Assert.Equal(["a1", "c1"], await GetRetainedAsync(publisher));
    }

    /// <summary>Tests a node that misses the first messages of an epoch that does not begin at offset 0.</summary>
    [Fact]
    public async Task CatchUp_InEpochAfterOlderState_ReadsMissedMessages()
    {
        var (publisher, subscriber) = (StartNode(), StartNode());
        await publisher.PublishAsync(Group, "a1", Limits, new("a", false));
        await using var connection = await Redis.ConnectAsync();
        var database = connection.GetDatabase();
        await database.KeyDeleteAsync([Keys.Stream, Keys.Index]);
        // Write the state that the script writes for an epoch without a batch.
        await database.HashSetAsync(Keys.State, [new("g", "-"), new("b", 0)]);
        await subscriber.SubscribeAsync(Group, Limits);

        await UndeliveredMessage.PublishAsync(database, Keys, 1, "missed", node: "other");

        await subscriber.WaitForMessagesAsync(Group, 1);
        Assert.Equal((2L, "missed"), (subscriber.GetReceived(Group)[0].Position.Offset, subscriber.GetReceived(Group)[0].Text));
        Assert.Equal(0, subscriber.GetLossCount(Group));
    }

    [Fact]
    public async Task RetainedHash_OfEarlierEpoch_IsIgnoredAndReplaced()
    {
        var node = StartNode();
        await node.PublishAsync(Group, "a1", Limits, new("a", false));
        await using var connection = await Redis.ConnectAsync();
        var database = connection.GetDatabase();
        await database.KeyDeleteAsync([Keys.State, Keys.Stream, Keys.Index]);

        Assert.Empty(await GetRetainedAsync(node));
        await node.PublishAsync(Group, "b1", Limits, new("b", false));

        Assert.Equal(["b1"], await GetRetainedAsync(node));
    }

    [Fact]
    public async Task Keys_OfRetainingGroup_ExpireAfterRetainedAge()
    {
        // A check would renew the expirations with the retention of the first subscription.
        var node = StartNode(configure: options => options.CheckInterval = TimeSpan.FromMinutes(1));
        var limits = new GroupOptions { RetainLatestPerKey = true, RetainedAge = TimeSpan.FromHours(2) };
        await using var connection = await Redis.ConnectAsync();
        var database = connection.GetDatabase();
        await node.PublishAsync(Group, "no key", limits);
        Assert.False(await database.KeyExistsAsync(Keys.Retained));

        // This publish creates the hash of the retained messages, but does not renew the other expirations.
        await node.PublishAsync(Group, "a1", limits, new("a", false));

        var minute = TimeSpan.FromMinutes(1);
        Assert.InRange((await database.KeyTimeToLiveAsync(Keys.Retained))!.Value, limits.RetainedAge - minute, limits.RetainedAge + minute);
        Assert.InRange((await database.KeyTimeToLiveAsync(Keys.State))!.Value, limits.RetainedAge - minute, limits.RetainedAge + (2 * minute));
        // Only nodes that catch up need the stream, so the stream expires earlier.
        Assert.InRange((await database.KeyTimeToLiveAsync(Keys.Stream))!.Value, TimeSpan.Zero, TimeSpan.FromHours(1));
        await database.KeyExpireAsync(Keys.Retained, minute);
        await node.SubscribeAsync(Group, limits);
        Assert.InRange((await database.KeyTimeToLiveAsync(Keys.Retained))!.Value, limits.RetainedAge - minute, limits.RetainedAge + minute);

        // Without this call, the node would notice that the keys are new. The node would then read the group, and renew
        // the expirations with the retention of its subscription.
        node.Unsubscribe(Group);
        var forever = new GroupOptions { RetainLatestPerKey = true, RetainedAge = Timeout.InfiniteTimeSpan };
        await database.KeyDeleteAsync([Keys.State, Keys.Stream, Keys.Index, Keys.Retained]);
        await node.PublishAsync(Group, "a1", forever, new("a", false));
        Assert.Equal((null, null), (await database.KeyTimeToLiveAsync(Keys.Retained), await database.KeyTimeToLiveAsync(Keys.State)));
    }

    async Task<string[]> GetRetainedAsync(TestNode node)
    {
        node.Unsubscribe(Group);
        var subscription = await node.SubscribeAsync(Group, Limits);
        return [.. subscription.Retained.Select(retained => System.Text.Encoding.UTF8.GetString(retained.Message.Span))];
    }
}
