using Broadcast.Middleware.Redis.Tests.Infrastructure;

namespace Broadcast.Middleware.Redis.Tests.Subscriptions;

/// <summary>
/// Tests how a node reads the history of a group. Redis keeps more messages for repairs than the history needs.
/// </summary>
public sealed class HistoryReaderTests : RedisTest
{
    const int BatchCount = 64, MessageBytes = 60_000;

    [Theory]
    [InlineData(10, 100_000, 1)]
    [InlineData(3, 10_000_000, 3)]
    [InlineData(1000, 10_000_000, BatchCount)]
    public async Task Subscribe_ToGroupWithLargeRepairWindow_ReadsOnlyTheHistory(
        int historyMessages, int historyBytes, int expectedMessages)
    {
        static void UseLargeWindow(RedisBackplaneOptions options) => options.RepairBytes = 1 << 30;
        var history = new GroupOptions { HistoryMessages = historyMessages, HistoryBytes = historyBytes };
        var publisher = StartNode(configure: UseLargeWindow);
        for (var i = 0; i < BatchCount; i++)
        {
            byte[] message = [(byte)i, .. new byte[MessageBytes - 1]];
            await publisher.Backplane.PublishAsync(Group, message, history, null, Token);
        }

        var proxy = CreateProxy();
        // The test counts the bytes of all answers. The long timeout prevents a repeated read on a busy machine.
        var node = StartNode($"{proxy.Configuration},syncTimeout=60000,asyncTimeout=60000", UseLargeWindow);
        // The startup checks also receive data, so wait until the checks have ended.
        await node.StartupChecks.WaitAsync(TestNode.Patience, Token);
        await node.SubscribeAsync("/other");
        var before = proxy.AnswerBytes;
        var subscription = await node.SubscribeAsync(Group, history);
        Assert.Equal(
            Enumerable.Range(BatchCount - expectedMessages, expectedMessages),
            subscription.History.Select(message => (int)message.Span[0]));
        // The node reads whole batches, so it can read one batch more than the history.
        var maxBytes = ((expectedMessages + 1) * (MessageBytes + 1000)) + (MessageBytes / 2);
        Assert.InRange(proxy.AnswerBytes - before, expectedMessages * MessageBytes, maxBytes);
    }

    [Fact]
    public async Task Subscribe_HistoryWithManyBatches_ReadsAllPages()
    {
        const int Messages = 300;
        var history = new GroupOptions { HistoryMessages = 200 };
        var node = StartNode();
        for (var i = 0; i < Messages; i++) await node.PublishAsync(Group, $"{i}", history);
        var subscription = await node.SubscribeAsync(Group, history);
        Assert.Equal(
            Enumerable.Range(Messages - 200, 200).Select(i => $"{i}"),
            subscription.History.Select(message => System.Text.Encoding.UTF8.GetString(message.Span)));
    }
}
