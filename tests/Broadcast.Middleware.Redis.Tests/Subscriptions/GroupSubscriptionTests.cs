using System.Collections.Concurrent;
using Broadcast.Middleware.Redis.Diagnostics;
using Broadcast.Middleware.Redis.Tests.Infrastructure;
using Microsoft.Extensions.Diagnostics.Metrics.Testing;

namespace Broadcast.Middleware.Redis.Tests.Subscriptions;

/// <summary>Tests that a node reads messages from the stream when they are lost on the way to the node.</summary>
public sealed class GroupSubscriptionTests : RedisTest
{
    [Fact]
    public async Task LastMessage_LostOnChannel_IsFoundByCheck()
    {
        var (node, _) = await StartNodeWithMessageAsync();
        await using var connection = await Redis.ConnectAsync();
        await UndeliveredMessage.PublishAsync(connection.GetDatabase(), Keys, 1, "2");
        await node.WaitForMessagesAsync(Group, 2);
        Assert.Equal(["1", "2"], node.GetReceivedTexts(Group));
    }

    /// <summary>
    /// In a quiet group, the stream expires, but the state of the group does not. The node then misses a message.
    /// </summary>
    [Fact]
    public async Task FirstMessageAfterStreamExpires_LostOnChannel_IsFoundByCheck()
    {
        var (node, _) = await StartNodeWithMessageAsync();
        await using var connection = await Redis.ConnectAsync();
        var database = connection.GetDatabase();
        await database.KeyDeleteAsync([Keys.Stream, Keys.Index]);
        await UndeliveredMessage.PublishAsync(database, Keys, 1, "2");
        await WaitForMessagesWithoutLossAsync(node, 2);
        Assert.Equal(["1", "2"], node.GetReceivedTexts(Group));
    }

    /// <summary>The node misses more batches than one read of the stream returns. The next batch shows the gap.</summary>
    [Fact]
    public async Task ManyMessagesAfterStreamExpires_LostOnChannel_AreDeliveredBeforeNextMessage()
    {
        var node = StartNode(configure: options => options.CheckInterval = TimeSpan.FromMinutes(1));
        await node.SubscribeAsync(Group);
        await node.PublishAsync(Group, "0");
        await node.WaitForMessagesAsync(Group, 1);
        await using var connection = await Redis.ConnectAsync();
        var database = connection.GetDatabase();
        await database.KeyDeleteAsync([Keys.Stream, Keys.Index]);
        for (var i = 1; i <= 40; i++) await UndeliveredMessage.PublishAsync(database, Keys, i, $"{i}", count: 2);
        await node.PublishAsync(Group, "41");
        await WaitForMessagesWithoutLossAsync(node, 82);
        Assert.Equal(
            [0, .. Enumerable.Range(1, 40).SelectMany(i => new[] { i, i }), 41],
            node.GetReceivedTexts(Group).Select(int.Parse));
        Assert.Equal(
            Enumerable.Range(1, 82).Select(i => (long)i),
            node.GetReceived(Group).Select(received => received.Position.Offset));
    }

    /// <summary>
    /// A message larger than RepairBytes removes all earlier messages from the stream. The check must still find the
    /// message.
    /// </summary>
    [Fact]
    public async Task MessageLargerThanRepairBytes_LostOnChannel_IsFoundByCheck()
    {
        static void UseSmallWindow(RedisBackplaneOptions options) => options.RepairBytes = 1024;
        await using var connection = await RedisServer.ConnectAsync(Redis.Configuration);
        var node = new TestNode(Nodes.Create(connection, UseSmallWindow));
        var other = StartNode(configure: UseSmallWindow);
        await node.SubscribeAsync(Group);
        await other.PublishAsync(Group, "1");
        await node.WaitForMessagesAsync(Group, 1);
        await connection.GetSubscriber().UnsubscribeAllAsync();
        var large = new string('2', 5000);
        await other.PublishAsync(Group, large);
        Assert.Equal(1, await connection.GetDatabase().StreamLengthAsync(Keys.Stream));
        await WaitForMessagesWithoutLossAsync(node, 2);
        Assert.Equal(["1", large], node.GetReceivedTexts(Group));
    }

    /// <summary>
    /// An older version of the Redis backplane has published the batch without a previous tag. So the node cannot prove
    /// that it has missed no other batch.
    /// </summary>
    [Fact]
    public async Task FirstMessageAfterStreamExpires_WithoutPreviousTag_ReportsLossInSameEpoch()
    {
        var (node, start) = await StartNodeWithMessageAsync();
        await using var connection = await Redis.ConnectAsync();
        var transaction = connection.GetDatabase().CreateTransaction();
        _ = transaction.KeyDeleteAsync([Keys.Stream, Keys.Index]);
        _ = transaction.HashSetAsync(Keys.State, [new("o", 2), new("g", "tag")]);
        _ = transaction.StreamAddAsync(Keys.Stream, [new("c", 1), new("t", 0), new("g", "tag"), new("b", "")], "2-0");
        Assert.True(await transaction.ExecuteAsync());
        await node.WaitForLossAsync(Group);
        Assert.Equal(new(start.Epoch, 2), (await node.SubscribeAsync(Group)).Position);
    }

    [Fact]
    public async Task Message_LostOnChannel_IsDeliveredBeforeNextMessage()
    {
        // The interval is so long that no check finds the lost message. Only the next message shows the gap.
        var node = StartNode(configure: options => options.CheckInterval = TimeSpan.FromMinutes(1));
        await node.SubscribeAsync(Group);
        await using var connection = await Redis.ConnectAsync();
        for (var round = 0; round < 20; round++)
        {
            await UndeliveredMessage.PublishAsync(connection.GetDatabase(), Keys, round + 1, $"{2 * round}");
            await node.PublishAsync(Group, $"{2 * round + 1}");
        }

        await node.WaitForMessagesAsync(Group, 40);
        Assert.Equal(Enumerable.Range(0, 40).Select(i => $"{i}"), node.GetReceivedTexts(Group));
        Assert.Equal(
            Enumerable.Range(1, 40).Select(i => (long)i),
            node.GetReceived(Group).Select(received => received.Position.Offset));
    }

    [Fact]
    public async Task Reconnect_AfterManyMissedMessages_DeliversAllMessagesInOrder()
    {
        var proxy = CreateProxy();
        var (disconnected, other) = (StartNode(proxy.Configuration), StartNode());
        foreach (var node in new[] { disconnected, other }) await node.SubscribeAsync(Group);
        await other.PublishAsync(Group, "0");
        await disconnected.WaitForMessagesAsync(Group, 1);
        proxy.Close();
        // The node missed more messages than one read of the stream returns, so several reads are necessary.
        for (var i = 1; i <= 200; i++) await other.PublishAsync(Group, $"{i}");
        proxy.Open();
        await disconnected.WaitForMessagesAsync(Group, 201);
        Assert.Equal(other.GetReceived(Group), disconnected.GetReceived(Group));
        Assert.Equal(0, disconnected.GetLossCount(Group));
    }

    [Fact]
    public async Task Reconnect_AfterRepairWindow_ReportsLossOnce()
    {
        static void UseSmallWindow(RedisBackplaneOptions options) => options.RepairMessages = 10;
        var proxy = CreateProxy();
        var disconnected = StartNode(proxy.Configuration, UseSmallWindow);
        var other = StartNode(configure: UseSmallWindow);
        foreach (var node in new[] { disconnected, other }) await node.SubscribeAsync(Group);
        await other.PublishAsync(Group, "0");
        await disconnected.WaitForMessagesAsync(Group, 1);
        proxy.Close();
        for (var i = 1; i <= 50; i++) await other.PublishAsync(Group, $"{i}");
        proxy.Open();
        await disconnected.WaitForLossAsync(Group);
        Assert.Equal(["0"], disconnected.GetReceivedTexts(Group));
        disconnected.Clear(Group);
        Assert.Equal(51, (await disconnected.SubscribeAsync(Group)).Position.Offset);
        await other.PublishAsync(Group, "51");
        await disconnected.WaitForMessagesAsync(Group, 1);
        Assert.Equal(["51"], disconnected.GetReceivedTexts(Group));
    }

    [Fact]
    public async Task Receiver_SlowInOneGroup_DelaysOnlyThatGroupAndMissesNoMessage()
    {
        const int MessageCount = 200;
        static void UseLargeWindow(RedisBackplaneOptions options) => options.RepairBytes = 1 << 30;
        var receiver = new BlockingReceiver("/slow");
        var backplane = Nodes.Create(Redis.Configuration, UseLargeWindow);
        backplane.Start(receiver);
        var publisher = StartNode(configure: UseLargeWindow);
        await backplane.SubscribeAsync("/slow", null, Token);
        await backplane.SubscribeAsync("/fast", null, Token);
        // Together, these messages are ten times as large as the capacity of the inbox.
        for (var i = 0; i < MessageCount; i++)
        {
            var message = Enumerable.Repeat((byte)i, 200_000).ToArray();
            await publisher.Backplane.PublishAsync("/slow", message, null, null, Token);
        }

        await publisher.PublishAsync("/fast", "hello");
        await TestNode.EventuallyAsync(
            () => new(receiver.GetFirstBytes("/fast").Length == 1), "The fast group receives its message.");
        Assert.Empty(receiver.GetFirstBytes("/slow"));
        receiver.Unblock();
        await TestNode.EventuallyAsync(
            () => new(receiver.GetFirstBytes("/slow").Length == MessageCount),
            "The slow group receives all messages.");
        Assert.Equal(Enumerable.Range(0, MessageCount), receiver.GetFirstBytes("/slow"));
        Assert.False(receiver.HasLoss);
    }

    [Fact]
    public async Task ChannelSubscription_Lost_IsRestoredWithoutMessageLoss()
    {
        await using var connection = await RedisServer.ConnectAsync(Redis.Configuration);
        var node = new TestNode(Nodes.Create(connection));
        var other = StartNode();
        await node.SubscribeAsync(Group);
        using var received = new MetricCollector<long>(
            Nodes.GetMeterFactory(node.Backplane), RedisMetrics.MeterName, "broadcast.redis.received");
        await connection.GetSubscriber().UnsubscribeAllAsync();
        var published = 0;
        await TestNode.EventuallyAsync(
            async () =>
            {
                await other.PublishAsync(Group, $"{published++}");
                await node.WaitForMessagesAsync(Group, published);
                return received.GetMeasurementSnapshot().Count > 0;
            },
            "The channel delivers a message.");
        Assert.Equal(Enumerable.Range(0, published).Select(i => $"{i}"), node.GetReceivedTexts(Group));
        Assert.NotEqual(1, published);
    }

    [Fact]
    public async Task QuietGroup_WithSubscriber_KeepsEpoch()
    {
        var node = StartNode();
        var start = await node.SubscribeAsync(Group);
        await using var connection = await Redis.ConnectAsync();
        var database = connection.GetDatabase();
        await database.KeyExpireAsync(Keys.State, TimeSpan.FromSeconds(50));
        await TestNode.EventuallyAsync(
            async () => await database.KeyTimeToLiveAsync(Keys.State) > TimeSpan.FromSeconds(60),
            "The check renews the expiration.");
        Assert.Equal(new(start.Position.Epoch, 1), await node.PublishAsync(Group, "1"));
    }

    [Fact]
    public async Task Publish_HealthyConnection_CausesNoRefill()
    {
        // On a busy machine, a check can find a message before the channel delivers it. So the interval is long.
        var node = StartNode(configure: options => options.CheckInterval = TimeSpan.FromMinutes(1));
        using var refills = new MetricCollector<long>(
            Nodes.GetMeterFactory(node.Backplane), RedisMetrics.MeterName, "broadcast.redis.refills");
        await node.SubscribeAsync(Group);
        for (var i = 0; i < 3000; i++) await node.PublishAsync(Group, $"{i}");
        await node.WaitForMessagesAsync(Group, 3000);
        Assert.Empty(refills.GetMeasurementSnapshot());
    }

    [Fact]
    public async Task Subscribe_CanceledAtRandomMoments_LeavesNoSubscription()
    {
        var proxy = CreateProxy();
        var node = StartNode(proxy.Configuration);
        var history = new GroupOptions { HistoryMessages = 10 };
        await node.PublishAsync(Group, "1", history);
        var random = new Random(1);
        var (rounds, cancelled) = (300 * Effort.Factor, 0);
        for (var round = 0; round < rounds; round++)
        {
            using var cancellation = new CancellationTokenSource();
            var subscribe = node.Backplane.SubscribeAsync(Group, history, cancellation.Token).AsTask();
            for (var yields = random.Next(0, 2000); yields > 0; yields--) await Task.Yield();
            if (round % 50 == 49) proxy.Disconnect();
            await cancellation.CancelAsync();
            try
            {
                await subscribe;
                node.Unsubscribe(Group);
            }
            catch (OperationCanceledException)
            {
                cancelled++;
            }
        }

        Assert.InRange(cancelled, 1, rounds);
        TestContext.Current.TestOutputHelper?.WriteLine($"{cancelled} of {rounds} subscriptions were canceled.");
        await Redis.WaitForNoSubscribersAsync(proxy);
        node.Clear(Group);
        var subscription = await node.SubscribeAsync(Group, history);
        Assert.Equal("1"u8.ToArray(), subscription.History.Single().ToArray());
        await node.PublishAsync(Group, "2");
        await TestNode.EventuallyAsync(
            () => new(node.GetReceivedTexts(Group) is [.., "2"]), "The node receives the message.");
    }

    [Fact]
    public async Task Subscribe_TimedOut_LeavesNoSubscription()
    {
        var proxy = CreateProxy();
        var node = StartNode(
            proxy.Configuration, options => options.PublishTimeout = TimeSpan.FromMilliseconds(300));
        await TestNode.EventuallyAsync(
            async () => await TestNode.TryAsync(() => node.SubscribeAsync("/other")), "The node can subscribe.");
        proxy.DiscardAnswers();
        for (var round = 0; round < 3; round++)
            await Assert.ThrowsAsync<BackplaneException>(() => node.SubscribeAsync(Group));
        proxy.Disconnect();
        node.Unsubscribe("/other");
        await Redis.WaitForNoSubscribersAsync(proxy);
        await TestNode.EventuallyAsync(
            async () => await TestNode.TryAsync(() => node.SubscribeAsync(Group)), "The node can subscribe again.");
        // The timeout of this node is short and could also end a publish. So another node publishes.
        await StartNode().PublishAsync(Group, "1");
        await node.WaitForMessagesAsync(Group, 1);
    }

    static async Task WaitForMessagesWithoutLossAsync(TestNode node, int count)
    {
        // Wait also for a loss. Otherwise, a loss would end the test only after a timeout.
        await TestNode.EventuallyAsync(
            () => new(node.GetReceived(Group).Length >= count || node.GetLossCount(Group) > 0),
            "The node receives the messages or reports a loss.");
        Assert.Equal((count, 0), (node.GetReceived(Group).Length, node.GetLossCount(Group)));
    }

    /// <summary>A receiver that blocks on messages of one group until the test calls <see cref="Unblock"/>.</summary>
    sealed class BlockingReceiver(string blockedGroup) : IBackplaneReceiver
    {
        readonly TaskCompletionSource _unblocked = new();
        readonly ConcurrentDictionary<string, ConcurrentQueue<int>> _firstBytes = new();

        public bool HasLoss { get; private set; }

        public void Unblock() => _unblocked.TrySetResult();

        /// <summary>Returns the first byte of each received message.</summary>
        public int[] GetFirstBytes(string group) =>
            _firstBytes.TryGetValue(group, out var bytes) ? [.. bytes] : [];

        public void OnMessage(string group, Position position, ReadOnlyMemory<byte> message)
        {
            if (group == blockedGroup) _unblocked.Task.Wait(Token);
            _firstBytes.GetOrAdd(group, static _ => new()).Enqueue(message.Span[0]);
        }

        public void OnTransientMessage(string group, Position after, ReadOnlyMemory<byte> message) =>
            throw new InvalidOperationException("This test has no transient messages.");

        public void OnLost(string group) => HasLoss = true;
    }
}
