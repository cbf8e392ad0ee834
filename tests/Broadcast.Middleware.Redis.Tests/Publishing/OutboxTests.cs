using Broadcast.Middleware.Redis.Storage;
using Broadcast.Middleware.Redis.Tests.Infrastructure;
using Microsoft.Extensions.DependencyInjection;
using Microsoft.Extensions.Time.Testing;
using StackExchange.Redis;

namespace Broadcast.Middleware.Redis.Tests.Publishing;

/// <summary>Tests the outbox of a node while Redis is unreachable or becomes unreachable.</summary>
public sealed class OutboxTests : RedisTest
{
    protected override bool StartsRedis => false;

    [Fact]
    public async Task Publish_BeforeRedisStarts_WaitsInOrder()
    {
        var node = StartNode(configure: options =>
            (options.PublishTimeout, options.MaxOutboxBytes) = (TimeSpan.FromMinutes(1), 100_000));
        var waiting = new List<Task<Position>>();
        while (true)
        {
            byte[] message = [(byte)waiting.Count, .. new byte[999]];
            var publish = node.Backplane.PublishAsync(Group, message, null, null, Token).AsTask();
            if (publish.IsCompleted)
            {
                var error = await Assert.ThrowsAsync<BackplaneException>(() => publish);
                Assert.Contains("outbox is full", error.Message, StringComparison.Ordinal);
                Assert.Contains("MaxOutboxBytes is 100000", error.Message, StringComparison.Ordinal);
                break;
            }

            waiting.Add(publish);
        }

        Assert.Equal(100_000 / 1064, waiting.Count);
        // All groups share one limit.
        await Assert.ThrowsAsync<BackplaneException>(
            () => node.Backplane.PublishAsync("/b", new byte[1000], null, null, Token).AsTask());
        await Redis.StartAsync();
        var positions = await Task.WhenAll(waiting);
        Assert.Equal(
            Enumerable.Range(1, waiting.Count).Select(i => (long)i), positions.Select(position => position.Offset));
        // The outbox has removed the acknowledged messages, so its limit admits new messages.
        await Task.WhenAll(Enumerable.Range(0, 90).Select(
            _ => node.Backplane.PublishAsync(Group, new byte[1000], null, null, Token).AsTask()));
        var subscription = await StartNode().SubscribeAsync(Group, new() { HistoryMessages = 1000 });
        Assert.Equal(
            Enumerable.Range(0, waiting.Count),
            subscription.History.Take(waiting.Count).Select(message => (int)message.Span[0]));
    }

    [Fact]
    public async Task Operations_WithoutRedis_FailAfterPublishTimeout()
    {
        var node = StartNode(configure: options => options.PublishTimeout = TimeSpan.FromMilliseconds(300));
        Func<Task>[] operations =
        [
            () => node.PublishAsync(Group, ""),
            () => node.SubscribeAsync(Group),
            () => node.Backplane.CountMembersAsync(Group, Token).AsTask(),
            () => node.Backplane.GetMembersAsync(Group, Token).AsTask(),
        ];
        foreach (var operation in operations)
        {
            var started = TimeProvider.System.GetTimestamp();
            await Assert.ThrowsAsync<BackplaneException>(operation);
            var elapsed = TimeProvider.System.GetElapsedTime(started);
            Assert.InRange(elapsed, TimeSpan.FromMilliseconds(250), TimeSpan.FromSeconds(30));
        }

        // The failed operations have no effect after Redis has started.
        await Redis.StartAsync();
        await TestNode.EventuallyAsync(
            async () => await TestNode.TryAsync(() => node.SubscribeAsync(Group)), "The node can subscribe.");
        // On a busy machine, a publish can take longer than the timeout of the first node. So another node publishes.
        Assert.Equal(1, (await StartNode().PublishAsync(Group, "first")).Offset);
        await node.WaitForMessagesAsync(Group, 1);
    }

    [Fact]
    public async Task Publish_BehindAnotherPublish_FailsAfterItsOwnPublishTimeout()
    {
        var time = new FakeTimeProvider();
        var backplane = Nodes.Create(builder =>
        {
            builder.Services.AddSingleton<TimeProvider>(time);
            builder.AddRedis(
                Redis.Configuration,
                options => (options.Prefix, options.PublishTimeout) = ("test", TimeSpan.FromSeconds(10)));
        });
        _ = new TestNode(backplane);
        var publishes = new List<Task<Position>>();
        // Publish at 0, 3 and 6 seconds. The first message is in flight, and the others wait.
        for (var i = 0; i < 3; i++, time.Advance(TimeSpan.FromSeconds(3)))
            publishes.Add(backplane.PublishAsync(Group, new byte[1], null, null, Token).AsTask());
        Assert.DoesNotContain(publishes, static publish => publish.IsCompleted);
        foreach (var publish in publishes)
        {
            // The next message is pending at 9.1, 12.1 or 15.1 seconds. The message has expired at 10.1, 13.1 or 16.1
            // seconds.
            time.Advance(TimeSpan.FromSeconds(0.1));
            Assert.False(publish.IsCompleted);
            time.Advance(TimeSpan.FromSeconds(1));
            await Assert.ThrowsAsync<BackplaneException>(() => publish.WaitAsync(TestNode.Patience, Token));
            time.Advance(TimeSpan.FromSeconds(1.9));
        }
    }

    [Fact]
    public async Task Publish_RedisDownAndWhenUnreachableIsFail_FailsImmediately()
    {
        var node = StartNode(configure: options =>
            (options.PublishTimeout, options.WhenUnreachable) = (TimeSpan.FromHours(1), WhenUnreachable.Fail));
        // The first publish waits for the end of the first attempt to connect.
        await Assert.ThrowsAsync<BackplaneException>(
            () => node.PublishAsync(Group, "").WaitAsync(TestNode.Patience, Token));
        var publish = node.PublishAsync(Group, "");
        Assert.True(publish.IsCompleted);
        var error = await Assert.ThrowsAsync<BackplaneException>(() => publish);
        Assert.Contains("WhenUnreachable is Fail", error.Message, StringComparison.Ordinal);
        await Redis.StartAsync();
        await TestNode.EventuallyAsync(
            async () => await TestNode.TryAsync(() => node.PublishAsync(Group, "")), "The node can publish.");
    }

    [Fact]
    public async Task Publish_CanceledWhileWaiting_FreesBytesOfMessage()
    {
        var node = StartNode(configure: options =>
            (options.PublishTimeout, options.MaxOutboxBytes) = (TimeSpan.FromMinutes(1), 65_536));
        var first = node.PublishAsync(Group, "first");
        await TestNode.EventuallyAsync(() => new(node.Outbox.Count == 0), "The first message is in flight.");
        using var cancellation = new CancellationTokenSource();
        var cancelled = node.Backplane.PublishAsync(Group, new byte[60_000], null, null, cancellation.Token).AsTask();
        await Assert.ThrowsAsync<BackplaneException>(
            () => node.Backplane.PublishAsync(Group, new byte[60_000], null, null, Token).AsTask());
        await cancellation.CancelAsync();
        await Assert.ThrowsAnyAsync<OperationCanceledException>(() => cancelled);
        var last = node.Backplane.PublishAsync(Group, new byte[60_000], null, null, Token).AsTask();
        await Redis.StartAsync();
        Assert.Equal((1, 2), ((await first).Offset, (await last).Offset));
    }

    [Fact]
    public async Task Publish_CanceledInFlight_KeepsBytesOfMessageUntilBatchEnds()
    {
        var node = StartNode(configure: options =>
            (options.PublishTimeout, options.MaxOutboxBytes) = (TimeSpan.FromMinutes(1), 65_536));
        using var cancellation = new CancellationTokenSource();
        var cancelled = node.Backplane.PublishAsync(Group, new byte[60_000], null, null, cancellation.Token).AsTask();
        await TestNode.EventuallyAsync(() => new(node.Outbox.Count == 0), "The message is in flight.");
        await cancellation.CancelAsync();
        await Assert.ThrowsAnyAsync<OperationCanceledException>(() => cancelled);
        Assert.Equal(60_064, node.Outbox.Bytes);
        await Assert.ThrowsAsync<BackplaneException>(
            () => node.Backplane.PublishAsync(Group, new byte[60_000], null, null, Token).AsTask());
        await Redis.StartAsync();
        await TestNode.EventuallyAsync(() => new(node.Outbox.Bytes == 0), "The batch has ended.");
    }

    /// <summary>
    /// Cancels many large publishes. An app cancels its publishes if it passes RequestAborted and the clients
    /// disconnect.
    /// </summary>
    [Fact]
    public async Task Publish_ManyLargeMessagesCanceled_StaysWithinMaxOutboxBytes()
    {
        const int MessageBytes = 1 << 20;
        await Redis.StartAsync();
        var node = StartNode(configure: options => options.PublishTimeout = TimeSpan.FromMinutes(1));
        for (var i = 0; i < 8; i++) await node.PublishAsync($"/{i}", "");
        await Redis.SuspendAsync();
        var before = GC.GetTotalMemory(forceFullCollection: true);
        for (var i = 0; i < 600; i++)
        {
            using var aborted = new CancellationTokenSource();
            var publish = node.Backplane.PublishAsync($"/{i % 8}", new byte[MessageBytes], null, null, aborted.Token).AsTask();
            await aborted.CancelAsync();
            await Assert.ThrowsAnyAsync<Exception>(() => publish);
        }

        var growth = GC.GetTotalMemory(forceFullCollection: true) - before;
        // Other tests use the same heap, so the allowed growth is large. Without MaxOutboxBytes, the heap grows by 600
        // MiB.
        Assert.InRange(growth, long.MinValue, 300L * MessageBytes);
        Assert.InRange(node.Outbox.Bytes, MessageBytes, 32L * MessageBytes);
        await Redis.ResumeAsync();
        await TestNode.EventuallyAsync(() => new(node.Outbox.Bytes == 0), "The batches have ended.");
    }

    [Fact]
    public async Task Publish_ManyMessagesCanceled_FreesMemoryOfMessages()
    {
        var node = StartNode(configure: options => options.PublishTimeout = TimeSpan.FromHours(1));
        var outbox = node.Outbox;
        // The batch in flight contains one message, and the test does not cancel this message.
        var publishes = new List<Task<Position>> { node.PublishAsync(Group, "0") };
        await TestNode.EventuallyAsync(() => new(outbox.Count == 0), "The first message is in flight.");
        for (var round = 1; round <= 10; round++)
        {
            publishes.Add(node.PublishAsync(Group, $"{round}"));
            using var cancellation = new CancellationTokenSource();
            var cancelled = Enumerable.Range(0, 1000)
                .Select(_ => node.Backplane.PublishAsync(Group, new byte[1000], null, null, cancellation.Token).AsTask())
                .ToArray();
            await cancellation.CancelAsync();
            foreach (var publish in cancelled)
                await Assert.ThrowsAnyAsync<OperationCanceledException>(() => publish);
            Assert.InRange(outbox.Count, 1, 3000);
        }

        Assert.InRange(outbox.Bytes, 1, publishes.Count * 100);
        await Redis.StartAsync();
        var positions = await Task.WhenAll(publishes);
        Assert.Equal(
            Enumerable.Range(1, publishes.Count).Select(i => (long)i), positions.Select(position => position.Offset));
        Assert.Equal((0, 0), (outbox.Bytes, outbox.Count));
    }

    [Theory]
    [InlineData(1)]
    [InlineData(2)]
    public async Task OutboxBytes_AfterRandomFaults_ReturnToZero(int seed)
    {
        await Redis.StartAsync();
        var proxy = CreateProxy();
        var node = StartNode(proxy.Configuration, options =>
            (options.PublishTimeout, options.MaxOutboxBytes) = (TimeSpan.FromMilliseconds(400), 65_536));
        var outbox = node.Outbox;
        var random = new Random(seed);
        var (published, failed, cancelled) = (0, 0, 0);
        var publishes = new List<Task>();
        for (var round = 0; round < 40; round++)
        {
            for (var i = 0; i < 30; i++)
            {
                var (group, size) = ($"/{random.Next(3)}", random.Next(3000));
                publishes.Add(PublishAsync(group, size, random.Next(5) == 0 ? random.Next(20) : null));
            }

            if (round % 8 == 2) proxy.Disconnect();
            if (round % 8 == 4) proxy.Close();
            if (round % 8 == 7) proxy.Open();
            if (round == 12) proxy.DiscardAnswers();
            Assert.InRange(outbox.Bytes, 0, 65_536);
            if (random.Next(2) == 0) await Task.WhenAll(publishes);
        }

        await Task.WhenAll(publishes);
        // On a busy machine, every publish may exceed its timeout. So the test publishes until one publish succeeds
        // after the faults.
        proxy.Open();
        await TestNode.EventuallyAsync(
            async () =>
            {
                await PublishAsync("/0", 1, null);
                return published > 0;
            },
            "A publish succeeds after the faults.");
        await TestNode.EventuallyAsync(() => new(outbox is { Bytes: 0, Count: 0 }), "No message waits.");
        TestContext.Current.TestOutputHelper?.WriteLine(
            $"{published} published, {failed} failed, {cancelled} canceled");
        Assert.True(published > 0 && failed > 0 && cancelled > 0, "Each outcome occurs.");

        async Task PublishAsync(string group, int size, int? cancelAfterMilliseconds)
        {
            using var cancellation = new CancellationTokenSource();
            if (cancelAfterMilliseconds is { } milliseconds) cancellation.CancelAfter(milliseconds);
            try
            {
                await node.Backplane.PublishAsync(group, new byte[size], null, null, cancellation.Token);
                Interlocked.Increment(ref published);
            }
            catch (BackplaneException)
            {
                Interlocked.Increment(ref failed);
            }
            catch (OperationCanceledException)
            {
                Interlocked.Increment(ref cancelled);
            }
        }
    }

    [Fact]
    public async Task Publish_AnswerLost_TakesEffectOnce()
    {
        await Redis.StartAsync();
        var proxy = CreateProxy();
        var (publisher, subscriber) = (StartNode(proxy.Configuration), StartNode());
        await subscriber.SubscribeAsync(Group);
        await publisher.PublishAsync(Group, "0");
        for (var round = 1; round <= 5; round++)
        {
            proxy.DiscardAnswers();
            var publish = publisher.PublishAsync(Group, $"{round}");
            await subscriber.WaitForMessagesAsync(Group, round + 1);
            Assert.False(publish.IsCompleted);
            proxy.Disconnect();
            Assert.Equal(subscriber.GetReceived(Group)[^1].Position, await publish);
        }

        Assert.Equal(7, (await publisher.PublishAsync(Group, "last")).Offset);
        await subscriber.WaitForMessagesAsync(Group, 7);
        Assert.Equal(["0", "1", "2", "3", "4", "5", "last"], subscriber.GetReceivedTexts(Group));
    }

    [Fact]
    public async Task Batch_ArrivesAfterLaterBatch_IsRejected()
    {
        await Redis.StartAsync();
        var node = StartNode();
        await node.SubscribeAsync(Group);
        await using var connection = await Redis.ConnectAsync();
        var database = connection.GetDatabase();
        await UndeliveredMessage.PublishAsync(database, Keys, 2, "later");
        var error = await Assert.ThrowsAsync<RedisServerException>(
            () => UndeliveredMessage.PublishAsync(database, Keys, 1, "earlier"));
        Assert.StartsWith(Scripts.Superseded, error.Message, StringComparison.Ordinal);
        // If a node sends the later batch again, Redis ignores the repeated batch.
        await UndeliveredMessage.PublishAsync(database, Keys, 2, "later");
        Assert.Equal(2, (await node.PublishAsync(Group, "last")).Offset);
        await node.WaitForMessagesAsync(Group, 2);
        Assert.Equal(["later", "last"], node.GetReceivedTexts(Group));
    }
}
