using Broadcast.Middleware.Redis.Tests.Infrastructure;

namespace Broadcast.Middleware.Redis.Tests.Storage;

public sealed class ScriptsTests : RedisTest
{
    [Fact]
    public async Task Publish_ManyBatchesOutsideRepairWindow_TrimsBatchesInSteps()
    {
        var history = new GroupOptions { HistoryMessages = 100 };
        var node = StartNode(configure: options =>
        {
            (options.RepairMessages, options.RepairBytes) = (10_000_000, 1 << 30);
            // The age limit is large, so no batch becomes too old during the test.
            options.RepairAge = TimeSpan.FromHours(1);
        });
        for (var i = 0; i < 1000; i++) await node.PublishAsync(Group, $"{i}", history);
        await using var connection = await Redis.ConnectAsync();
        var database = connection.GetDatabase();
        Assert.Equal(1000, await database.StreamLengthAsync(Keys.Stream));
        var nodeWithSmallWindow = StartNode(configure: options => options.RepairMessages = 10);
        long[] lengths = [1000 + 1 - 256, 1000 + 2 - 512, 1000 + 3 - 768, 100, 101];
        foreach (var length in lengths)
        {
            await nodeWithSmallWindow.PublishAsync(Group, "more", history);
            Assert.Equal(length, await database.StreamLengthAsync(Keys.Stream));
            // A new subscriber never receives more messages than the history limit allows.
            Assert.Equal(100, (await nodeWithSmallWindow.SubscribeAsync(Group, history)).History.Count);
            nodeWithSmallWindow.Unsubscribe(Group);
        }
    }

    [Fact]
    public async Task Publish_ByManyNodes_RemovesFieldsOfOldNodes()
    {
        await using var connection = await Redis.ConnectAsync();
        var database = connection.GetDatabase();
        for (var i = 0; i < 100; i++)
            await UndeliveredMessage.PublishAsync(database, Keys, i, "1", node: $"{i}");
        Assert.Equal(5 + 100, await database.HashLengthAsync(Keys.State));
        // The script keeps the fields of nodes that published in the same millisecond.
        await UndeliveredMessage.PublishAsync(
            database, Keys, 100, "1", node: "100", batchMemoryMilliseconds: 0);
        Assert.InRange(await database.HashLengthAsync(Keys.State), 5 + 1, 5 + 10);
        Assert.True(await database.HashExistsAsync(Keys.State, "100"));
        Assert.Equal(101, (long)await database.HashGetAsync(Keys.State, "o"));
    }
}
