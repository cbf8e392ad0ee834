using System.Collections.Concurrent;
using Broadcast.Middleware.Redis.Diagnostics;
using Broadcast.Middleware.Redis.Storage;
using Broadcast.Middleware.Redis.Tests.Infrastructure;
using Microsoft.Extensions.Diagnostics.Metrics.Testing;
using StackExchange.Redis;

namespace Broadcast.Middleware.Redis.Tests.Subscriptions;

/// <summary>Tests transient messages: Redis delivers them through the channel, but does not store them.</summary>
public sealed class TransientMessageTests : RedisTest
{
    [Fact]
    public async Task Publish_TransientMessages_WritesNothingToTheStream()
    {
        var node = StartNode();
        await node.SubscribeAsync(Group);
        await node.PublishAsync(Group, "1");
        await Task.WhenAll(Enumerable.Range(0, 100).Select(i => node.PublishTransientAsync(Group, $"secret {i}")));
        await TestNode.EventuallyAsync(() => new(node.GetReceivedTransient(Group).Length == 100), "The transient messages arrive.");
        await using var connection = await Redis.ConnectAsync();
        var database = connection.GetDatabase();
        Assert.Equal(1, await database.StreamLengthAsync(Keys.Stream));
        Assert.Equal(1, await database.ListLengthAsync(Keys.Index));
        var body = (byte[])(await database.StreamRangeAsync(Keys.Stream)).Single()["b"]!;
        Assert.Equal(-1, body.AsSpan().IndexOf("secret"u8));
        Assert.Equal("1", (string?)await database.HashGetAsync(Keys.State, "o"));
    }

    /// <summary>
    /// Stored and transient messages share a batch if the node publishes the messages without waiting.
    /// </summary>
    [Fact]
    public async Task Publish_StoredAndTransientMessagesInOneBatch_StoresNoTransientMessage()
    {
        var history = new GroupOptions { HistoryMessages = 1_000, HistoryBytes = 1 << 20 };
        var node = StartNode();
        await node.SubscribeAsync(Group, history);
        var publishes = new List<Task>();
        for (var i = 0; i < 200; i++)
        {
            publishes.Add(i % 2 == 0 ? node.PublishAsync(Group, $"{i}", history) : node.PublishTransientAsync(Group, $"{i}"));
        }

        await Task.WhenAll(publishes);
        await node.WaitForMessagesAsync(Group, 100);
        await TestNode.EventuallyAsync(() => new(node.GetReceivedTransient(Group).Length == 100), "The transient messages arrive.");
        Assert.Equal(
            Enumerable.Range(0, 100).Select(i => (i + 1L, i + 1, $"{(2 * i) + 1}")),
            node.GetReceivedTransient(Group).Select(received => (received.After.Offset, received.Earlier, received.Text)));
        var stored = await StartNode().SubscribeAsync(Group, history);
        Assert.Equal(100, stored.Position.Offset);
        Assert.Equal(
            Enumerable.Range(0, 100).Select(i => $"{2 * i}"),
            stored.History.Select(message => System.Text.Encoding.UTF8.GetString(message.Span)));
    }

    [Fact]
    public async Task Publish_LostAnswer_DeliversTransientMessageOnce()
    {
        var proxy = CreateProxy();
        var (publisher, subscriber) = (StartNode(proxy.Configuration), StartNode());
        await subscriber.SubscribeAsync(Group);
        await publisher.PublishUntilAcceptedAsync(Group, "0");
        await subscriber.WaitForMessagesAsync(Group, 1);
        proxy.DiscardAnswers();
        var publishing = publisher.PublishTransientAsync(Group, "once");
        await TestNode.EventuallyAsync(() => new(subscriber.GetReceivedTransient(Group).Length == 1), "Redis executes the publish.");
        // The node does not get the answer, so it sends the batch again on a new connection.
        proxy.Disconnect();
        await publishing;
        await publisher.PublishAsync(Group, "1");
        await subscriber.WaitForMessagesAsync(Group, 2);
        Assert.Equal("once", subscriber.GetReceivedTransient(Group).Single().Text);
    }

    /// <summary>
    /// A connection that has subscribed on two servers of a Redis Cluster receives each batch twice. The node must not
    /// read the stream because of a copy. Otherwise, it could skip transient messages that wait behind the copy.
    /// </summary>
    [Fact]
    public async Task Channel_BatchesArriveTwice_DeliversEachMessageOnceWithoutRefill()
    {
        var (publisher, other) = (StartNode(), StartNode());
        var subscriber = StartNode(configure: options => options.CheckInterval = TimeSpan.FromMinutes(1));
        using var refills = new MetricCollector<long>(
            Nodes.GetMeterFactory(subscriber.Backplane), RedisMetrics.MeterName, "broadcast.redis.refills");
        await subscriber.SubscribeAsync(Group);
        await using var connection = await Redis.ConnectAsync();
        var (channel, batches) = (RedisChannel.Literal(Keys.FullChannel), new ConcurrentQueue<RedisValue>());
        await connection.GetSubscriber().SubscribeAsync(channel, (_, batch) => batches.Enqueue(batch));

        for (var i = 0; i < 10; i++)
        {
            await publisher.PublishTransientAsync(Group, $"{i} a");
            await other.PublishTransientAsync(Group, $"{i} b");
            await publisher.PublishAsync(Group, $"stored {i}");
            await publisher.PublishTransientAsync(Group, $"{i} c");
            await other.PublishTransientAsync(Group, $"{i} d");
            await TestNode.EventuallyAsync(() => new(batches.Count == (i * 10) + 5), "The channel receives the batches.");
            foreach (var batch in batches.TakeLast(5).ToArray()) await connection.GetSubscriber().PublishAsync(channel, batch);
            await TestNode.EventuallyAsync(() => new(batches.Count == (i + 1) * 10), "The channel receives the copies.");
        }

        await publisher.PublishTransientAsync(Group, "last");

        await TestNode.EventuallyAsync(() => new(subscriber.GetReceivedTransient(Group) is [.., (_, _, "last")]), "All messages arrive.");
        Assert.Equal(
            [.. Enumerable.Range(0, 10).SelectMany(i => new[] { $"{i} a", $"{i} b", $"{i} c", $"{i} d" }), "last"],
            subscriber.GetReceivedTransient(Group).Select(static received => received.Text));
        Assert.Equal(Enumerable.Range(0, 10).Select(i => $"stored {i}"), subscriber.GetReceivedTexts(Group));
        Assert.Empty(refills.GetMeasurementSnapshot());
    }

    [Fact]
    public async Task CatchUp_AfterDisconnect_KeepsPositionsAndSkipsTransientMessages()
    {
        var proxy = CreateProxy();
        var (disconnected, other) = (StartNode(proxy.Configuration), StartNode());
        foreach (var node in new[] { disconnected, other }) await node.SubscribeAsync(Group);
        await other.PublishAsync(Group, "0");
        await disconnected.WaitForMessagesAsync(Group, 1);
        proxy.Close();
        for (var i = 1; i <= 100; i++)
        {
            await other.PublishTransientAsync(Group, $"missed {i}");
            await other.PublishAsync(Group, $"{i}");
        }

        proxy.Open();
        await disconnected.WaitForMessagesAsync(Group, 101);
        // The node has read the numbered messages from the stream. Its channel may still be closed, and then the node misses transient messages.
        await TestNode.EventuallyAsync(
            async () =>
            {
                await other.PublishTransientAsync(Group, "live");
                return disconnected.GetReceivedTransient(Group) is [.., { Text: "live" }];
            },
            "A live message arrives.");
        Assert.Equal(other.GetReceived(Group), disconnected.GetReceived(Group));
        Assert.Equal(0, disconnected.GetLossCount(Group));
    }

    [Fact]
    public async Task PublishTransient_WithoutSubscriber_CreatesNoKey()
    {
        var node = StartNode();
        await node.PublishUntilAcceptedAsync("/other", "connected");
        await node.PublishTransientAsync(Group, "nobody listens");
        await using var connection = await Redis.ConnectAsync();
        Assert.False(await connection.GetDatabase().KeyExistsAsync(Keys.State));
        Assert.Equal(1, (await node.PublishAsync(Group, "1")).Offset);
    }

    [Fact]
    public void TakeMessage_TransientMessages_AreMarked()
    {
        var body = new byte[Batch.GetEncodedSize(0) + Batch.GetEncodedSize(3) + Batch.GetEncodedSize(1)];
        var index = 0;
        Batch.AppendTransient(body, ref index, []);
        Batch.Append(body, ref index, "abc"u8);
        Batch.AppendTransient(body, ref index, "d"u8);
        Assert.Equal(body.Length, index);
        ReadOnlyMemory<byte> rest = body;
        Assert.Empty(Batch.TakeMessage(ref rest, out var isTransient).ToArray());
        Assert.True(isTransient);
        Assert.Equal("abc"u8, Batch.TakeMessage(ref rest, out isTransient).Span);
        Assert.False(isTransient);
        Assert.Equal("d"u8, Batch.TakeMessage(ref rest, out isTransient).Span);
        Assert.True(isTransient);
        Assert.True(rest.IsEmpty);
    }
}
