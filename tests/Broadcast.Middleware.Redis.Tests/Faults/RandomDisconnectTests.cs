using System.Collections.Concurrent;
using System.Globalization;
using System.Text;
using Broadcast.Middleware.Redis.Tests.Infrastructure;

namespace Broadcast.Middleware.Redis.Tests.Faults;

/// <summary>
/// Tests delivery while eight publishers publish and the Redis connections of three nodes are reset at random times.
/// </summary>
public sealed class RandomDisconnectTests : RedisTest
{
    [Theory]
    [InlineData(1, 10_000_000)]
    [InlineData(2, 10_000_000)]
    [InlineData(3, 100)]
    public async Task Publish_RandomDisconnects_DeliversOnceInOrderOrReportsLoss(int seed, int repairMessages)
    {
        const int PublisherCount = 8, DisconnectCount = 12;
        var random = new Random(seed);
        var proxies = Enumerable.Range(0, 3).Select(_ => CreateProxy()).ToArray();
        var nodes = proxies
            .Select(proxy => StartNode(
                proxy.Configuration,
                options => (options.RepairMessages, options.RepairBytes) = (repairMessages, 1 << 30)))
            .ToArray();
        var limits = new GroupOptions { RetainLatestPerKey = true };
        foreach (var node in nodes) await node.SubscribeAsync(Group, limits);
        using var cancellation = new CancellationTokenSource();
        var published = new ConcurrentBag<(Position Position, string Text)>();
        var failed = new ConcurrentBag<string>();
        var publishing = Task.WhenAll(Enumerable.Range(0, PublisherCount).Select(publisher => Task.Run(async () =>
        {
            for (var i = 0; !cancellation.IsCancellationRequested; i++)
            {
                var text = $"{publisher} {i}";
                try
                {
                    published.Add((await nodes[publisher % 3].PublishAsync(Group, text, limits, KeyOf(text)), text));
                }
                catch (BackplaneException)
                {
                    failed.Add(text);
                }
            }
        }, Token)));

        // Before each disconnect, wait until the node has published more messages. So the disconnect interrupts
        // operations.
        for (var round = 0; round < DisconnectCount; round++)
        {
            var index = random.Next(3);
            var count = random.Next(1, 200);
            await WaitForPublishesAsync(index, count);
            if (round % 4 == 3)
            {
                proxies[index].Close();
                await WaitForPublishesAsync((index + 1) % 3, count);
                proxies[index].Open();
            }
            else proxies[index].Disconnect();
        }

        for (var i = 0; i < nodes.Length; i++) await WaitForPublishesAsync(i, 1);
        await cancellation.CancelAsync();
        await publishing;
        var lastOffset = published.Max(message => message.Position.Offset);
        foreach (var node in nodes)
        {
            await TestNode.EventuallyAsync(
                () => new(node.GetLossCount(Group) > 0
                    || (node.GetReceived(Group) is [.., var newest] && newest.Position.Offset >= lastOffset)),
                "The node receives the last message or reports a loss.");
            if (repairMessages > published.Count) Assert.Equal(0, node.GetLossCount(Group));
            var received = node.GetReceived(Group);
            if (node.GetLossCount(Group) == 0)
                Assert.InRange(received.Length, lastOffset, lastOffset + failed.Count);
            Assert.Equal(
                Enumerable.Range(1, received.Length).Select(i => (long)i),
                received.Select(message => message.Position.Offset));
            Assert.Equal(received.Length, received.Select(message => message.Text).Distinct().Count());
            foreach (var message in published.Where(message => message.Position.Offset <= received.Length))
                Assert.Equal(message, received[message.Position.Offset - 1]);
            // All other received messages belong to failed publishes.
            Assert.Empty(received
                .Select(message => message.Text)
                .Except(published.Select(message => message.Text))
                .Except(failed));
            // Each node receives the messages of each publisher in order.
            foreach (var publisher in received.GroupBy(message => message.Text.Split(' ')[0]))
            {
                var numbers = publisher.Select(message => int.Parse(message.Text.Split(' ')[1])).ToArray();
                Assert.Equal(numbers.Order(), numbers);
            }
        }

        // All nodes receive the messages in the same order. This order includes messages whose publish failed.
        foreach (var node in nodes[1..])
        {
            foreach (var (first, other) in nodes[0].GetReceived(Group).Zip(node.GetReceived(Group)))
                Assert.Equal(first, other);
        }

        // A node that loads the group from Redis receives the newest message of each key.
        var loaded = await StartNode().SubscribeAsync(Group, limits);
        if (Array.Find(nodes, node => node.GetLossCount(Group) == 0) is { } complete)
        {
            await TestNode.EventuallyAsync(
                () => new(complete.GetReceived(Group).Length >= loaded.Position.Offset), "The node receives all messages.");
            var newest = complete.GetReceived(Group)
                .Where(message => message.Position.Offset <= loaded.Position.Offset)
                .GroupBy(message => KeyOf(message.Text).Name)
                .Select(messages => messages.Last())
                .Where(message => !KeyOf(message.Text).IsRemoved);
            Assert.Equal(
                newest.Select(message => (message.Position.Offset, message.Text)).Order(),
                loaded.Retained.Select(retained => (retained.Offset, Encoding.UTF8.GetString(retained.Message.Span))));
        }

        var disconnected = proxies.Sum(proxy => proxy.DisconnectedCount);
        Assert.True(disconnected >= DisconnectCount, "Each disconnect interrupts at least one connection.");
        TestContext.Current.TestOutputHelper?.WriteLine(
            $"{published.Count} published, {failed.Count} failed, {disconnected} connections disconnected, " +
            $"losses {string.Join(", ", nodes.Select(node => node.GetLossCount(Group)))}");

        async Task WaitForPublishesAsync(int node, int count)
        {
            var before = CountPublished(node);
            await TestNode.EventuallyAsync(
                () => new(CountPublished(node) >= before + count), "The node publishes more messages.");
        }

        // Each publisher has three keys. Every fifth message removes its key.
        static RetainedKey KeyOf(string text)
        {
            var (publisher, number) = (text[0], int.Parse(text.Split(' ')[1], CultureInfo.InvariantCulture));
            return new($"{publisher} {number % 3}", number % 5 == 0);
        }

        int CountPublished(int node) => published.Count(message => (message.Text[0] - '0') % 3 == node);
    }
}
