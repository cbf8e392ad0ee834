using System.Globalization;
using System.Text;

namespace Broadcast.Middleware.Contracts;

/// <summary>
/// Tests the rules that the library expects from an <see cref="IBackplane"/>. Derive from this class in an xunit v3
/// test project and create nodes of one cluster. Start with an empty cluster, or make sure that no
/// other program uses the groups that <see cref="Name"/> returns.
/// </summary>
public abstract class BackplaneContract : IAsyncLifetime
{
    readonly List<IBackplane> _nodes = [];
    readonly List<Task> _publishing = [];
    readonly CancellationTokenSource _over = new();
    readonly string _run = Guid.NewGuid().ToString("N");

    /// <summary>
    /// Creates a node of the cluster without starting the node. A test calls this method one or more times and disposes
    /// the nodes.
    /// </summary>
    protected abstract ValueTask<IBackplane> CreateNodeAsync();

    /// <summary>Makes the cluster lose all data of all groups.</summary>
    protected abstract ValueTask LoseDataAsync();

    /// <summary>
    /// Simulates a crash of a node. The node must not notify the other nodes and must not send its pending data.
    /// </summary>
    protected abstract ValueTask CrashAsync(IBackplane node);

    /// <summary>The time limit for an expected event.</summary>
    protected virtual TimeSpan Patience => TimeSpan.FromSeconds(60);

    /// <summary>The total number of messages in tests with many publishers.</summary>
    protected virtual int Many => 2_000;

    protected static GroupOptions Kept(int messages, int bytes = 1024 * 1024, TimeSpan? age = null) =>
        new() { HistoryMessages = messages, HistoryBytes = bytes, HistoryAge = age ?? TimeSpan.FromMinutes(5) };

    public virtual ValueTask InitializeAsync() => default;

    public virtual async ValueTask DisposeAsync()
    {
        GC.SuppressFinalize(this);
        // After a failed test, its publishers may still be running, so stop them.
        await _over.CancelAsync();
        foreach (var publishing in _publishing) await publishing.WaitAsync(Patience).ConfigureAwait(ConfigureAwaitOptions.SuppressThrowing);
        foreach (var node in _nodes)
        {
            if (node is IAsyncDisposable later) await later.DisposeAsync();
            else (node as IDisposable)?.Dispose();
        }

        _nodes.Clear();
        _over.Dispose();
    }

    [Fact]
    public async Task Publish_ToSubscribedNodes_ReachesAllNodesIncludingPublisher()
    {
        var nodes = await NodesAsync(3);
        foreach (var node in nodes) await node.SubscribeAsync(Name("a"));
        var position = await nodes[0].PublishAsync(Name("a"), "hello");
        foreach (var node in nodes)
        {
            await node.HeardAsync(Name("a"), 1);
            Assert.Equal((position, "hello"), node.Heard(Name("a")).Single());
        }
    }

    [Fact]
    public async Task PublishOnce_RepeatedOnAnyNode_TakesEffectOnceAndReturnsFirstPosition()
    {
        var (nodes, group) = (await NodesAsync(2), Name("once"));
        var start = (await nodes[1].SubscribeAsync(group)).Position;
        await nodes[0].PublishAsync(group, "0");
        var (position, isDuplicate) = await nodes[0].PublishOnceAsync(group, "id", "1");
        Assert.Equal((start.Offset + 2, false), (position.Offset, isDuplicate));
        foreach (var node in nodes) Assert.Equal((position, true), await node.PublishOnceAsync(group, "id", "again"));
        // An ID with another spelling, or the same ID in another group, is not a duplicate.
        foreach (var id in (string[])["ID", "id ", "i%d", "\ud800", "\ud801", "{x}", new('x', 128)]) Assert.False((await nodes[0].PublishOnceAsync(group, id, id.Length > 9 ? "long" : "2")).IsDuplicate);
        Assert.False((await nodes[0].PublishOnceAsync(Name("once more"), "id", "elsewhere")).IsDuplicate);
        Assert.Equal(start.Offset + 10, (await nodes[1].PublishAsync(group, "3")).Offset);
        await nodes[1].HeardAsync(group, 10);
        nodes[1].Continues(group, start);
        Assert.Equal(["0", "1", "2", "2", "2", "2", "2", "2", "long", "3"], nodes[1].Heard(group).Select(message => message.Text));
    }

    [Fact]
    public async Task Reserve_SameIdOnAnyNode_ReturnsFirstValue()
    {
        var (nodes, group) = (await NodesAsync(2), Name("reserved"));
        Assert.Equal("first", await nodes[0].ReserveAsync(group, "i d", "first"));
        foreach (var node in nodes) Assert.Equal("first", await node.ReserveAsync(group, "i d", "second"));
        // An ID with another spelling is another ID, and each group has its own IDs.
        foreach (var id in (string[])["I D", "i d ", "id", "i", "i%d", "\ud800", "\ud801", "{x}", new('x', 128)])
        {
            var value = $"{(int)id[0]} {id.Length}";
            Assert.Equal(value, await nodes[1].ReserveAsync(group, id, value));
        }

        Assert.Equal("", await nodes[1].ReserveAsync(Name("reserved elsewhere"), "i d", ""));
        Assert.Equal("", await nodes[0].ReserveAsync(Name("reserved elsewhere"), "i d", "third"));
    }

    [Fact]
    public async Task Reserve_IdPublishedOnAnyNode_ReturnsNull()
    {
        var (nodes, group) = (await NodesAsync(2), Name("reserved after publish"));
        await nodes[0].PublishAsync(group, "without an ID");
        // A reservation does not prevent the publish.
        Assert.Equal("value", await nodes[0].ReserveAsync(group, "i d", "value"));
        Assert.False((await nodes[1].PublishOnceAsync(group, "i d", "1")).IsDuplicate);
        foreach (var node in nodes) Assert.Null(await node.ReserveAsync(group, "i d", "value"));
        foreach (var id in (string[])["i%d", "\ud800", new('x', 128)])
        {
            await nodes[1].PublishOnceAsync(group, id, "2");
            Assert.Null(await nodes[0].ReserveAsync(group, id, "value"));
        }

        foreach (var id in (string[])["I D", "i d ", "id", "i", "\ud801"]) Assert.Equal("other", await nodes[0].ReserveAsync(group, id, "other"));
        Assert.Equal("value", await nodes[0].ReserveAsync(Name("never published"), "i d", "value"));
    }

    [Fact]
    public async Task Reserve_AfterWindow_StoresNewValue()
    {
        var (nodes, group) = (await NodesAsync(2), Name("reserved again"));
        await nodes[0].ReserveAsync(group, "short", "1", TimeSpan.FromMilliseconds(50));
        await nodes[0].ReserveAsync(group, "long", "2");
        await EventuallyAsync(async () => await nodes[1].ReserveAsync(group, "short", "3") == "3", "The reservation expires.");
        Assert.Equal("2", await nodes[1].ReserveAsync(group, "long", "4"));
        Assert.Equal("3", await nodes[0].ReserveAsync(group, "short", "5"));
        // A published ID also expires.
        await nodes[0].PublishOnceAsync(group, "published", "6", TimeSpan.FromMilliseconds(50));
        await EventuallyAsync(async () => await nodes[1].ReserveAsync(group, "published", "7") == "7", "The published ID expires.");
    }

    [Fact]
    public async Task Reserve_SameIdConcurrently_ReturnsSameValueToAllCallers()
    {
        var (nodes, group) = (await NodesAsync(2), Name("reserved concurrently"));
        var values = await Task.WhenAll(Enumerable.Range(0, 200).Select(i => nodes[i % 2].ReserveAsync(group, $"{i / 4}", $"{i}")));
        for (var i = 0; i < values.Length; i++)
        {
            Assert.Equal(values[i / 4 * 4], values[i]);
            Assert.InRange(int.Parse(values[i]!, CultureInfo.InvariantCulture), i / 4 * 4, (i / 4 * 4) + 3);
        }
    }

    [Fact]
    public async Task Reserve_CallerReusesBuffer_KeepsValue()
    {
        var (nodes, group) = (await NodesAsync(1), Name("reserved buffer"));
        var buffer = "value"u8.ToArray();
        var reserving = nodes[0].Backplane.ReserveAsync(group, "id", TimeSpan.FromMinutes(5), buffer, TestContext.Current.CancellationToken);
        buffer.AsSpan().Clear();
        Assert.Equal("value", Encoding.UTF8.GetString((await reserving)!.Value.Span));
        Assert.Equal("value", await nodes[0].ReserveAsync(group, "id", "other"));
    }

    [Fact]
    public async Task PublishOnce_SameIdConcurrently_PublishesOneMessagePerId()
    {
        var (nodes, group) = (await NodesAsync(2), Name("once at a time"));
        await nodes[0].SubscribeAsync(group);
        var publishes = Enumerable.Range(0, 200).Select(i => nodes[i % 2].PublishOnceAsync(group, $"{i / 4}", $"{i / 4}").AsTask());
        var results = await Task.WhenAll(publishes);
        Assert.Equal(50, results.Count(result => !result.IsDuplicate));
        Assert.All(results.Chunk(4), same => Assert.Single(same.Select(result => result.Position).Distinct()));
        await nodes[0].HeardAsync(group, 50);
        Assert.Equal(50, nodes[0].Heard(group).Select(message => message.Text).Distinct().Count());
    }

    [Fact]
    public async Task PublishOnce_SameIdAfterWindow_PublishesAgain()
    {
        var (nodes, group) = (await NodesAsync(1), Name("once per window"));
        var window = TimeSpan.FromMilliseconds(50);
        await nodes[0].SubscribeAsync(group);
        var (first, _) = await nodes[0].PublishOnceAsync(group, "id", "1", window);
        await Listener.EventuallyAsync(async () => !(await nodes[0].PublishOnceAsync(group, "id", "2", window)).IsDuplicate, Patience, "The ID expires.");
        Assert.Equal(first.Offset + 2, (await nodes[0].PublishAsync(group, "3")).Offset);
    }

    [Fact]
    public async Task RetainedMessages_LaterSubscriber_GetsNewestMessageOfEachKey()
    {
        var (nodes, group) = (await NodesAsync(2), Name("retained"));
        var limits = Retaining(10);
        await nodes[0].PublishAsync(group, "a1", limits, new("a", false));
        await nodes[0].PublishAsync(group, "A1", limits, new("A", false));
        await nodes[0].PublishAsync(group, "no key", limits);
        await nodes[0].PublishAsync(group, "b1", limits, new("b", false));
        await nodes[0].PublishAsync(group, "c1", limits, new("c", false));
        await nodes[0].PublishAsync(group, "a2", limits, new("a", false));
        Assert.Equal([(2, "A1"), (4, "b1"), (5, "c1"), (6, "a2")], await RetainedAsync(nodes[1], group, limits, 6));
        await nodes[1].PublishOnceAsync(group, "id", "b2", null, limits, new("b", false));
        // A repeated publish changes nothing.
        await nodes[1].PublishOnceAsync(group, "id", "b3", null, limits, new("b", false));
        await nodes[1].PublishAsync(group, "c removed", limits, new("c", true));
        await nodes[1].PublishAsync(group, "unknown removed", limits, new("d", true));
        Assert.Equal([(2, "A1"), (6, "a2"), (7, "b2")], await RetainedAsync(nodes[0], group, limits, 9));
        Assert.Equal([(2, "A1"), (6, "a2"), (7, "b2")], await RetainedAsync(nodes[1], group, limits, 9));
        await nodes[0].PublishTransientAsync(group, "transient");
        foreach (var key in (string[])["a", "b", "A"]) await nodes[0].PublishAsync(group, "removed", limits, new(key, true));
        Assert.Empty(await RetainedAsync(nodes[1], group, limits, 12));
        await nodes[0].PublishAsync(group, "again", limits, new("a", false));
        Assert.Equal([(13, "again")], await RetainedAsync(nodes[1], group, limits, 13));
    }

    [Fact]
    public async Task RetainedKeys_WithAnyCharacters_AreDistinct()
    {
        var (nodes, group) = (await NodesAsync(2), Name("retained keys"));
        var limits = Retaining(100);
        string[] keys = [" ", "  ", "a", "a ", "\0", "a\0", "\r\n", "%", "%25", "{}", "e", "o", "b", "0", "1 2", "ä", "a\u0308", "日本", "🎉", new('x', 256)];
        foreach (var key in keys) await nodes[0].PublishAsync(group, $"to {key}", limits, new(key, false));
        Assert.Equal(keys.Select((key, index) => (index + 1L, $"to {key}")), await RetainedAsync(nodes[1], group, limits, keys.Length));
    }

    [Fact]
    public async Task PublishWithKey_AboveRetainedLimits_IsRefusedAndChangesNothing()
    {
        var (nodes, group) = (await NodesAsync(2), Name("retained limits"));
        var limits = Retaining(keys: 2, bytes: 2_000);
        await nodes[1].SubscribeAsync(group, limits);
        await nodes[0].PublishAsync(group, "a", limits, new("a", false));
        await nodes[0].PublishAsync(group, "b", limits, new("b", false));
        // Concurrent publishes may share a batch. The backplane refuses only the message with the new key.
        var publishes = new[] { "a", "c", "b" }.Select(key => PublishAsync($"{key}2", key)).ToArray();
        await Task.WhenAll(publishes[0], publishes[2]).WaitAsync(Patience, Token);
        await IsRefusedAsync(publishes[1], nameof(GroupOptions.MaxRetainedKeys));
        await IsRefusedAsync(PublishOnceAsync(), nameof(GroupOptions.MaxRetainedKeys));
        await IsRefusedAsync(PublishAsync(new('x', 3_000), "a"), nameof(GroupOptions.MaxRetainedBytes));
        Assert.Equal([(3, "a2"), (4, "b2")], await RetainedAsync(nodes[0], group, limits, 4));
        // The backplane does not remember the message ID of a refused publish.
        Assert.Equal("value", await nodes[1].ReserveAsync(group, "id", "value"));
        await nodes[0].PublishAsync(group, "a removed", limits, new("a", true));
        Assert.False((await nodes[0].PublishOnceAsync(group, "id", "c3", null, limits, new("c", false))).IsDuplicate);
        Assert.Equal([(4, "b2"), (6, "c3")], await RetainedAsync(nodes[0], group, limits, 6));
        // The removed value of the key "a" no longer counts toward the limits.
        await nodes[0].PublishAsync(group, new('x', 1_000), limits, new("b", false));
        await nodes[1].HeardAsync(group, 7);
        Assert.Equal(["a", "b", "a2", "b2", "a removed", "c3", new('x', 1_000)], nodes[1].Heard(group).Select(message => message.Text));

        // A backplane may throw the exception before it returns a task.
        async Task PublishAsync(string text, string key) => await nodes[0].PublishAsync(group, text, limits, new(key, false));

        async Task PublishOnceAsync() => await nodes[0].PublishOnceAsync(group, "id", "c", null, limits, new("c", false));

        static async Task IsRefusedAsync(Task publish, string option) =>
            Assert.Contains(option, (await Assert.ThrowsAsync<InvalidOperationException>(() => publish)).Message, StringComparison.Ordinal);
    }

    [Fact]
    public async Task RetainedMessages_SubscribeDuringPublishes_MatchStartPosition()
    {
        var (nodes, group) = (await NodesAsync(2), Name("retained while publishing"));
        var limits = Retaining(10);
        using var enough = new CancellationTokenSource();
        var published = new List<(Position Position, string Key)>();
        var started = new TaskCompletionSource();
        var publishing = Task.Run(async () =>
        {
            for (var i = 0; !enough.IsCancellationRequested; i++)
            {
                var keys = Enumerable.Range(i, 4).Select(key => $"{key % 7}").ToArray();
                var positions = await Task.WhenAll(keys.Select(key => nodes[0].PublishAsync(group, key, limits, new(key, false)).AsTask()));
                published.AddRange(positions.Zip(keys));
                started.TrySetResult();
            }
        });
        _publishing.Add(publishing);
        await started.Task.WaitAsync(Patience, Token);
        var all = new List<BackplaneSubscription>();
        while (all.Count < 30)
        {
            nodes[1].Unsubscribe(group);
            all.Add(await nodes[1].SubscribeAsync(group, limits));
        }

        await enough.CancelAsync();
        await publishing.WaitAsync(Patience, Token);
        Assert.All(all, subscription => Assert.NotEmpty(subscription.Retained));
        foreach (var subscription in all)
        {
            var newest = published.Where(message => message.Position.Offset <= subscription.Position.Offset)
                .GroupBy(message => message.Key).Select(messages => (messages.Max(message => message.Position.Offset), messages.Key)).Order();
            Assert.Equal(newest, subscription.Retained.Select(retained => (retained.Offset, Text(retained.Message))));
        }
    }

    async Task<(long Offset, string Text)[]> RetainedAsync(Listener node, string group, GroupOptions limits, long offset)
    {
        node.Backplane.Unsubscribe(group);
        var subscription = await node.SubscribeAsync(group, limits);
        Assert.Equal(offset, subscription.Position.Offset);
        return [.. subscription.Retained.Select(retained => (retained.Offset, Text(retained.Message)))];
    }

    static GroupOptions Retaining(int keys, int bytes = 1024 * 1024) =>
        new() { RetainLatestPerKey = true, MaxRetainedKeys = keys, MaxRetainedBytes = bytes };

    [Fact]
    public async Task PublishTransient_BetweenMessages_ReachesAllNodesInOrderWithoutPosition()
    {
        var nodes = await NodesAsync(2);
        await EventuallyInRoundAsync("All transient messages arrive.", async group =>
        {
            var start = (await nodes[0].SubscribeAsync(group)).Position;
            await nodes[1].SubscribeAsync(group);
            await nodes[0].PublishTransientAsync(group, "0");
            for (var i = 1; i <= 50; i++)
            {
                var position = await nodes[0].PublishAsync(group, "stored");
                Assert.Equal(start.Offset + i, position.Offset);
                await nodes[0].PublishTransientAsync(group, $"{i}");
            }

            await nodes[0].PublishAsync(group, "last");
            var heardAll = true;
            foreach (var node in nodes)
            {
                await node.HeardAsync(group, 51);
                node.Continues(group, start);
                heardAll &= CountTransientInOrder(node, group, start, storedForEach: 1) == 51;
            }

            return heardAll;
        });
    }

    [Fact]
    public async Task PublishTransient_WithoutWaiting_KeepsOrderWithMessages()
    {
        var nodes = await NodesAsync(2);
        await EventuallyInRoundAsync("All transient messages arrive.", async group =>
        {
            var start = (await nodes[1].SubscribeAsync(group)).Position;
            var publishes = new List<Task>();
            for (var i = 1; i <= 300; i++)
            {
                publishes.Add(i % 3 == 0 ? nodes[0].PublishTransientAsync(group, $"{i / 3}").AsTask() : nodes[0].PublishAsync(group, $"{i}").AsTask());
            }

            await Task.WhenAll(publishes);
            await nodes[0].PublishAsync(group, "last");
            await nodes[1].HeardAsync(group, 201);
            nodes[1].Continues(group, start);
            return CountTransientInOrder(nodes[1], group, start, storedForEach: 2) == 100;
        });
    }

    [Fact]
    public async Task PublishTransient_ToGroupWithHistory_IsNotStoredAndKeepsHistory()
    {
        var (nodes, history) = (await NodesAsync(2), Kept(3));
        await EventuallyInRoundAsync("Only the transient message after the subscription arrives.", async group =>
        {
            await nodes[0].SubscribeAsync(group, history);
            for (var i = 1; i <= 4; i++) await nodes[0].PublishAsync(group, $"{i}", history);
            for (var i = 1; i <= 200; i++) await nodes[0].PublishTransientAsync(group, $"t{i}");
            var subscription = await nodes[1].SubscribeAsync(group, history);
            Assert.Equal(4, subscription.Position.Offset);
            Assert.Equal(["2", "3", "4"], subscription.History.Select(message => Encoding.UTF8.GetString(message.Span)));
            await nodes[0].PublishTransientAsync(group, "now");
            await EventuallyAsync(() => new(nodes[1].HeardTransient(group).Any(static message => message.Text == "now")), "The transient message arrives.");
            var heard = nodes[1].HeardTransient(group);
            Assert.Equal((subscription.Position, 0, "now"), heard[^1]);
            // The servers of a Redis Cluster forward messages to each other. So an earlier transient message may arrive late.
            return heard.Length == 1;
        });
    }

    [Fact]
    public async Task Publish_ByNodeWithoutSubscription_ReachesOnlySubscribedNode()
    {
        var nodes = await NodesAsync(2);
        await nodes[0].SubscribeAsync(Name("a"));
        var position = await nodes[1].PublishAsync(Name("a"), "hello");
        await nodes[0].HeardAsync(Name("a"), 1);
        Assert.Equal(position, nodes[0].Heard(Name("a")).Single().Position);
        Assert.Empty(nodes[1].Heard(Name("a")));
    }

    [Fact]
    public async Task Offsets_InOneEpoch_StartAtOneWithoutGaps()
    {
        var nodes = await NodesAsync(2);
        var start = await nodes[0].SubscribeAsync(Name("a"));
        Assert.Equal(0, start.Position.Offset);
        Assert.Empty(start.History);
        for (var i = 1; i <= 20; i++) Assert.Equal(new(start.Position.Epoch, i), await nodes[i % 2].PublishAsync(Name("a"), $"{i}"));
        await nodes[0].HeardAsync(Name("a"), 20);
        Assert.Equal(Enumerable.Range(1, 20).Select(i => (new Position(start.Position.Epoch, i), $"{i}")), nodes[0].Heard(Name("a")));
    }

    [Fact]
    public async Task Publish_WithoutAwaiting_KeepsOrder()
    {
        var nodes = await NodesAsync(2);
        await nodes[1].SubscribeAsync(Name("a"));
        var published = Enumerable.Range(0, 500).Select(i => nodes[0].PublishAsync(Name("a"), $"{i}").AsTask()).ToArray();
        var positions = await Task.WhenAll(published);
        await nodes[1].HeardAsync(Name("a"), 500);
        Assert.Equal(Enumerable.Range(0, 500).Select(i => $"{i}"), nodes[1].Heard(Name("a")).Select(received => received.Text));
        Assert.Equal(positions, nodes[1].Heard(Name("a")).Select(received => received.Position));
    }

    [Fact]
    public async Task Publish_ByManyNodes_ArrivesInSameOrderOnAllNodes()
    {
        const int Publishers = 8;
        var nodes = await NodesAsync(3);
        foreach (var node in nodes) await node.SubscribeAsync(Name("a"));
        var published = await PublishManyAsync(nodes, Name("a"), Publishers, Many / Publishers);
        foreach (var node in nodes)
        {
            await node.HeardAsync(Name("a"), published.Count);
            var received = node.Heard(Name("a"));
            Assert.Equal(published.OrderBy(message => message.Position.Offset), received);
            Assert.Equal(Enumerable.Range(1, published.Count).Select(i => (long)i), received.Select(message => message.Position.Offset));
            foreach (var publisher in received.GroupBy(message => message.Text.Split(' ')[0]))
                Assert.Equal(publisher.Select(message => message.Text), publisher.Select(message => message.Text).OrderBy(text => int.Parse(text.Split(' ')[1])));
        }
    }

    [Fact]
    public async Task Subscribe_WhileOthersPublish_ReceivesAllMessagesAfterStartPosition()
    {
        var nodes = await NodesAsync(3);
        using var enough = new CancellationTokenSource();
        var publishing = PublishManyAsync(nodes[..1], Name("a"), 4, int.MaxValue, null, enough.Token);
        var starts = new List<(Listener Node, Position Position)>();
        for (var round = 0; round < 5; round++)
        {
            foreach (var node in nodes[1..])
            {
                if (round > 0) node.Unsubscribe(Name("a"));
                node.Begin(Name("a"));
                var start = await node.SubscribeAsync(Name("a"), Kept(5));
                starts.Add((node, start.Position));
                await node.SomethingHeardAsync(Name("a"), start.Position);
                node.Continues(Name("a"), start.Position);
            }
        }

        await enough.CancelAsync();
        var published = await publishing;
        var last = published.Max(message => message.Position.Offset);
        foreach (var node in nodes[1..])
        {
            var start = starts.Last(start => start.Node == node).Position;
            await node.HeardAsync(Name("a"), (int)(last - start.Offset));
            Assert.Equal(published.Where(message => message.Position.Offset > start.Offset).OrderBy(message => message.Position.Offset), node.Heard(Name("a")));
        }
    }

    [Fact]
    public async Task Subscribe_WhileOthersPublish_ReturnsHistoryUpToStartPosition()
    {
        var nodes = await NodesAsync(2);
        // The publisher sets the same history limit as the subscribers.
        using var enough = new CancellationTokenSource();
        var publishing = PublishManyAsync(nodes[..1], Name("a"), 4, int.MaxValue, Kept(10), enough.Token);
        var all = new List<(Position Position, IReadOnlyList<string> History)>();
        while (all.Count < 50)
        {
            nodes[1].Unsubscribe(Name("a"));
            var start = await nodes[1].SubscribeAsync(Name("a"), Kept(10));
            all.Add((start.Position, [.. start.History.Select(Text)]));
        }

        await enough.CancelAsync();
        var published = (await publishing).ToDictionary(message => message.Position.Offset, message => message.Text);
        foreach (var (position, history) in all)
        {
            Assert.InRange(history.Count, 0, 10);
            if (position.Offset >= 10) Assert.Equal(10, history.Count);
            Assert.Equal(Enumerable.Range(0, history.Count).Select(i => published[position.Offset - history.Count + 1 + i]), history);
        }
    }

    [Fact]
    public async Task Resubscribe_AfterUnsubscribing_ReceivesOnlyLaterMessages()
    {
        var nodes = await NodesAsync(2);
        await nodes[0].SubscribeAsync(Name("a"));
        await nodes[1].SubscribeAsync(Name("a"));
        await nodes[1].PublishAsync(Name("a"), "1");
        await nodes[0].HeardAsync(Name("a"), 1);
        nodes[0].Unsubscribe(Name("a"));
        await nodes[1].PublishAsync(Name("a"), "2");
        await nodes[1].HeardAsync(Name("a"), 2);
        var start = await nodes[0].SubscribeAsync(Name("a"));
        Assert.Equal(2, start.Position.Offset);
        await nodes[1].PublishAsync(Name("a"), "3");
        await nodes[0].HeardAsync(Name("a"), 2);
        Assert.Equal(["1", "3"], nodes[0].Heard(Name("a")).Select(received => received.Text));
    }

    [Fact]
    public async Task Unsubscribe_WithoutSubscription_ChangesNothing()
    {
        var nodes = await NodesAsync(1);
        nodes[0].Unsubscribe(Name("a"));
        await nodes[0].SubscribeAsync(Name("a"));
        nodes[0].Unsubscribe(Name("a"));
        nodes[0].Unsubscribe(Name("a"));
        await nodes[0].SubscribeAsync(Name("a"));
        await nodes[0].PublishAsync(Name("a"), "1");
        await nodes[0].HeardAsync(Name("a"), 1);
    }

    [Fact]
    public async Task Resubscribe_ManyTimes_MissesNoMessage()
    {
        var nodes = await NodesAsync(2);
        for (var round = 0; round < 30; round++)
        {
            var start = await nodes[0].SubscribeAsync(Name("a"));
            nodes[0].Begin(Name("a"));
            var position = await nodes[1].PublishAsync(Name("a"), $"{round}");
            Assert.Equal(start.Position.Offset + 1, position.Offset);
            await nodes[0].HeardAsync(Name("a"), 1);
            Assert.Equal((position, $"{round}"), nodes[0].Heard(Name("a")).Single());
            nodes[0].Unsubscribe(Name("a"));
        }
    }

    [Fact]
    public async Task Groups_WithSimilarNames_AreIndependent()
    {
        var nodes = await NodesAsync(2);
        string[] groups = [Name("a"), Name("A"), Name("a/b"), Name("a "), Name("b")];
        foreach (var group in groups) await nodes[0].SubscribeAsync(group, Kept(10));
        for (var i = 1; i <= 3; i++)
        {
            foreach (var group in groups) Assert.Equal(i, (await nodes[1].PublishAsync(group, $"{group} {i}", Kept(10))).Offset);
        }

        foreach (var group in groups)
        {
            await nodes[0].HeardAsync(group, 3);
            Assert.Equal([$"{group} 1", $"{group} 2", $"{group} 3"], nodes[0].Heard(group).Select(received => received.Text));
            Assert.Equal([$"{group} 1", $"{group} 2", $"{group} 3"], (await nodes[1].SubscribeAsync(group, Kept(10))).History.Select(Text));
        }
    }

    [Fact]
    public async Task GroupName_WithAnyCharacters_DeliversMessagesAndListsMembers()
    {
        var nodes = await NodesAsync(2);
        string[] names =
        [
            "", " ", "\u0001", "\u0001all", "\u0002x", "\0", "a\0b", "a\r\nb", "{", "}", "{}", "{a}", "}{", "a{b}c", ":", "::", "a:b", "%", "%25", "%D83D", "*", "?", "[a]", "\\", "\"", "'",
            "ä", "ü\u0308", "日本", "🎉", "\u007f", "\u0085", "\u2028", "\ufeff", "\uffff", "\ud83d", "\udf89", "\udf89\ud83d", "a\ud83d", "\ud83db", new('x', 200), new('日', 200),
        ];
        foreach (var name in names) await nodes[0].SubscribeAsync(Raw(name), Kept(2));
        foreach (var name in names) Assert.Equal(1, (await nodes[1].PublishAsync(Raw(name), $"to {Convert.ToHexString(Encoding.Unicode.GetBytes(name))}", Kept(2))).Offset);
        foreach (var name in names)
        {
            await nodes[0].HeardAsync(Raw(name), 1);
            Assert.Equal($"to {Convert.ToHexString(Encoding.Unicode.GetBytes(name))}", nodes[0].Heard(Raw(name)).Single().Text);
            nodes[1].Backplane.SetMember(Raw(name), name, "x"u8.ToArray());
        }

        foreach (var name in names)
        {
            await MembersAsync(nodes[0], Raw(name), (name, "x"));
        }

        string Raw(string name) => name + _run;
    }

    [Fact]
    public async Task Message_EmptyLargeOrArbitrary_ArrivesUnchanged()
    {
        var nodes = await NodesAsync(2);
        await nodes[0].SubscribeAsync(Name("a"), Kept(10, 64 * 1024 * 1024));
        var random = new Random(1);
        var messages = new[] { 0, 1, 2, 127, 128, 65_535, 65_536, 1024 * 1024, 0 }.Select(length =>
        {
            var bytes = new byte[length];
            random.NextBytes(bytes);
            return bytes;
        }).ToArray();
        foreach (var message in messages) await nodes[1].Backplane.PublishAsync(Name("a"), message, Kept(10, 64 * 1024 * 1024), null, Token);
        await nodes[0].HeardAsync(Name("a"), messages.Length);
        AssertSame(messages, nodes[0].HeardBytes(Name("a")));
        var kept = (await nodes[1].SubscribeAsync(Name("a"), Kept(10, 64 * 1024 * 1024))).History;
        AssertSame(messages, kept.Select(message => message.ToArray()));

        // Assert.Equal needs seconds to compare a megabyte. This comparison needs microseconds.
        static void AssertSame(byte[][] expected, IEnumerable<byte[]> actual)
        {
            var messages = actual.ToArray();
            Assert.Equal(expected.Select(static message => message.Length), messages.Select(static message => message.Length));
            for (var i = 0; i < expected.Length; i++)
                Assert.True(expected[i].AsSpan().SequenceEqual(messages[i]), $"Message {i} has changed.");
        }
    }

    [Fact]
    public async Task Publish_BufferReusedAfterCall_SendsOriginalBytes()
    {
        var nodes = await NodesAsync(2);
        await nodes[0].SubscribeAsync(Name("a"), Kept(1000));
        var buffer = new byte[64];
        var published = new List<Task<Position>>();
        for (var i = 0; i < 100; i++)
        {
            Array.Fill(buffer, (byte)i);
            published.Add(nodes[1].Backplane.PublishAsync(Name("a"), buffer, Kept(1000), null, Token).AsTask());
            Array.Fill(buffer, (byte)255);
        }

        await Task.WhenAll(published);
        await nodes[0].HeardAsync(Name("a"), 100);
        Assert.Equal(Enumerable.Range(0, 100).Select(i => Enumerable.Repeat((byte)i, 64).ToArray()), nodes[0].HeardBytes(Name("a")));
        var kept = (await nodes[1].SubscribeAsync(Name("a"), Kept(1000))).History;
        Assert.Equal(Enumerable.Range(0, 100).Select(i => Enumerable.Repeat((byte)i, 64).ToArray()), kept.Select(message => message.ToArray()));
    }

    [Fact]
    public async Task History_OverMessageLimit_DropsOldest()
    {
        var nodes = await NodesAsync(2);
        for (var i = 1; i <= 25; i++) await nodes[0].PublishAsync(Name("a"), $"{i}", Kept(10));
        var start = await nodes[1].SubscribeAsync(Name("a"), Kept(10));
        Assert.Equal(25, start.Position.Offset);
        Assert.Equal(Enumerable.Range(16, 10).Select(i => $"{i}"), start.History.Select(Text));
    }

    [Fact]
    public async Task History_OfConcurrentPublishes_ContainsExactlyTheNewestMessages()
    {
        var nodes = await NodesAsync(2);
        await Task.WhenAll(Enumerable.Range(1, 125).Select(i => nodes[0].PublishAsync(Name("a"), $"{i}", Kept(10)).AsTask()));
        var start = await nodes[1].SubscribeAsync(Name("a"), Kept(10));
        Assert.Equal(125, start.Position.Offset);
        Assert.Equal(Enumerable.Range(116, 10).Select(i => $"{i}"), start.History.Select(Text));
    }

    [Fact]
    public async Task History_OverByteLimit_DropsOldest()
    {
        var nodes = await NodesAsync(2);
        for (var i = 0; i < 30; i++) await nodes[0].Backplane.PublishAsync(Name("a"), Enumerable.Repeat((byte)i, 1000).ToArray(), Kept(100, 10_500), null, Token);
        var start = await nodes[1].SubscribeAsync(Name("a"), Kept(100, 10_500));
        Assert.Equal(30, start.Position.Offset);
        // A backplane may add a few bytes of overhead to the size of each message.
        Assert.InRange(start.History.Count, 9, 10);
        Assert.Equal(Enumerable.Range(30 - start.History.Count, start.History.Count), start.History.Select(message => (int)message.Span[999]));
    }

    [Fact]
    public async Task History_OverAgeLimit_DropsOldest()
    {
        var nodes = await NodesAsync(2);
        var limits = Kept(100, age: TimeSpan.FromSeconds(1));
        for (var i = 0; i < 5; i++) await nodes[0].PublishAsync(Name("a"), "old", limits);
        await EventuallyAsync(
            async () =>
            {
                var start = await nodes[1].SubscribeAsync(Name("a"), limits);
                nodes[1].Unsubscribe(Name("a"));
                Assert.Equal(5, start.Position.Offset);
                return start.History.Count == 0;
            },
            "Messages older than a second are gone.");
        await nodes[0].PublishAsync(Name("a"), "new", limits);
        var after = await nodes[1].SubscribeAsync(Name("a"), limits);
        Assert.Equal(6, after.Position.Offset);
        Assert.Equal(["new"], after.History.Select(Text));
    }

    [Fact]
    public async Task History_OneMessagePublishedWithoutHistory_HasNoGap()
    {
        var nodes = await NodesAsync(2);
        await nodes[0].PublishAsync(Name("a"), "1", Kept(10));
        await nodes[0].PublishAsync(Name("a"), "2");
        await nodes[0].PublishAsync(Name("a"), "3", Kept(10));
        var start = await nodes[1].SubscribeAsync(Name("a"), Kept(10));
        Assert.Equal(3, start.Position.Offset);
        // A backplane may keep one, two or three messages. The kept messages must be the newest messages, without a
        // gap.
        Assert.Equal(((string[])["1", "2", "3"])[^start.History.Count..], start.History.Select(Text));
        Assert.NotEmpty(start.History);
    }

    [Fact]
    public async Task Members_OfAllNodes_AreCountedAndListed()
    {
        var nodes = await NodesAsync(3);
        for (var i = 0; i < 3; i++) nodes[i].Backplane.SetMember(Name("a"), $"m{i}", Encoding.UTF8.GetBytes($"value {i}"));
        nodes[0].Backplane.SetMember(Name("b"), "other", default);
        foreach (var node in nodes) await MembersAsync(node, Name("a"), ("m0", "value 0"), ("m1", "value 1"), ("m2", "value 2"));
        foreach (var node in nodes) await MembersAsync(node, Name("b"), ("other", ""));
        foreach (var node in nodes) await MembersAsync(node, Name("c"));
    }

    [Fact]
    public async Task Member_SetReplacedAndRemoved_ChangesOnAllNodes()
    {
        var nodes = await NodesAsync(2);
        var value = "first"u8.ToArray();
        nodes[0].Backplane.SetMember(Name("a"), "m", value);
        nodes[0].Backplane.SetMember(Name("a"), "stays", value);
        Array.Clear(value);
        foreach (var node in nodes) await MembersAsync(node, Name("a"), ("m", "first"), ("stays", "first"));
        nodes[0].Backplane.SetMember(Name("a"), "m", "second"u8.ToArray());
        foreach (var node in nodes) await MembersAsync(node, Name("a"), ("m", "second"), ("stays", "first"));
        nodes[0].Backplane.RemoveMember(Name("a"), "m");
        nodes[0].Backplane.RemoveMember(Name("a"), "never was");
        nodes[0].Backplane.RemoveMember(Name("never was"), "m");
        foreach (var node in nodes) await MembersAsync(node, Name("a"), ("stays", "first"));
    }

    [Fact]
    public async Task MemberCalls_ForOneMember_TakeEffectInOrder()
    {
        var nodes = await NodesAsync(2);
        for (var i = 0; i < 200; i++)
        {
            nodes[0].Backplane.SetMember(Name("a"), "stays", Encoding.UTF8.GetBytes($"{i}"));
            nodes[0].Backplane.SetMember(Name("a"), "goes", Encoding.UTF8.GetBytes($"{i}"));
            nodes[0].Backplane.RemoveMember(Name("a"), "goes");
            if (i % 2 == 0) nodes[0].Backplane.RemoveMember(Name("a"), "stays");
        }

        // The backplane must apply this call after all earlier calls.
        nodes[0].Backplane.SetMember(Name("a"), "last", default);
        await EventuallyAsync(
            async () => (await nodes[1].Backplane.GetMembersAsync(Name("a"), Token)).Any(member => member.Name == "last"), "The last member is listed.");
        await MembersAsync(nodes[1], Name("a"), ("stays", "199"), ("last", ""));
    }

    [Fact]
    public async Task Members_ManyAddedAndSomeRemoved_OnlyOtherMembersRemain()
    {
        const int Members = 500;
        var nodes = await NodesAsync(3);
        await Task.WhenAll(nodes.Select((node, n) => Task.Run(() =>
        {
            for (var i = 0; i < Members; i++) node.Backplane.SetMember(Name("a"), $"{n}-{i}", new byte[100]);
            for (var i = 0; i < Members; i += 2) node.Backplane.RemoveMember(Name("a"), $"{n}-{i}");
        }, Token)));
        var value = Text(new byte[100]);
        (string, string)[] left = [.. Enumerable.Range(0, 3).SelectMany(n => Enumerable.Range(0, Members / 2).Select(i => ($"{n}-{2 * i + 1}", value)))];
        foreach (var node in nodes) await MembersAsync(node, Name("a"), left);
    }

    [Fact]
    public async Task PublishAndSubscribe_TokenAlreadyCanceled_HaveNoEffect()
    {
        var nodes = await NodesAsync(2);
        await nodes[1].SubscribeAsync(Name("a"));
        var cancelled = new CancellationToken(canceled: true);
        await Assert.ThrowsAnyAsync<OperationCanceledException>(() => nodes[0].Backplane.PublishAsync(Name("a"), "no"u8.ToArray(), null, null, cancelled).AsTask());
        await Assert.ThrowsAnyAsync<OperationCanceledException>(() => nodes[0].Backplane.SubscribeAsync(Name("a"), null, cancelled).AsTask());
        await Assert.ThrowsAnyAsync<OperationCanceledException>(() => nodes[0].Backplane.ReserveAsync(Name("a"), "id", TimeSpan.FromMinutes(5), default, cancelled).AsTask());
        // A second attempt with another token succeeds.
        var start = await nodes[0].SubscribeAsync(Name("a"));
        Assert.Equal(0, start.Position.Offset);
        Assert.Equal(1, (await nodes[0].PublishAsync(Name("a"), "yes")).Offset);
        foreach (var node in nodes)
        {
            await node.HeardAsync(Name("a"), 1);
            Assert.Equal("yes", node.Heard(Name("a")).Single().Text);
        }
    }

    [Fact]
    public async Task Publish_CanceledInFlight_IsDeliveredAtMostOnce()
    {
        var nodes = await NodesAsync(2);
        await nodes[1].SubscribeAsync(Name("a"));
        var succeeded = new List<string>();
        for (var i = 0; i < 50; i++)
        {
            using var cancellation = new CancellationTokenSource();
            var publishing = nodes[0].Backplane.PublishAsync(Name("a"), Encoding.UTF8.GetBytes($"{i}"), null, null, cancellation.Token);
            await cancellation.CancelAsync();
            try
            {
                await publishing;
                succeeded.Add($"{i}");
            }
            catch (OperationCanceledException)
            {
            }
        }

        var last = await nodes[0].PublishAsync(Name("a"), "last");
        await nodes[1].HeardAsync(Name("a"), (int)last.Offset);
        var received = nodes[1].Heard(Name("a")).Select(message => message.Text).ToArray();
        Assert.Equal(received.Distinct(), received);
        Assert.Equal("last", received[^1]);
        Assert.Empty(succeeded.Except(received));
    }

    [Fact]
    public async Task Start_CalledTwice_ThrowsInvalidOperationException()
    {
        var nodes = await NodesAsync(1);
        Assert.Throws<InvalidOperationException>(() => nodes[0].Backplane.Start(nodes[0]));
    }

    [Fact]
    public async Task ClusterLoss_SubscribedGroup_NotifiesAllSubscribers()
    {
        var nodes = await NodesAsync(2);
        var before = await nodes[0].SubscribeAsync(Name("a"), Kept(10));
        await nodes[1].SubscribeAsync(Name("a"), Kept(10));
        for (var i = 0; i < 5; i++) await nodes[0].PublishAsync(Name("a"), $"{i}", Kept(10));
        foreach (var node in nodes) await node.HeardAsync(Name("a"), 5);
        await LoseDataAsync();
        foreach (var node in nodes) await EventuallyAsync(() => new(node.Losses(Name("a")) == 1), "The loss is reported.");
        // The loss ended the subscription, so the node can subscribe again.
        nodes[0].Begin(Name("a"));
        var after = await nodes[0].SubscribeAsync(Name("a"), Kept(10));
        Assert.NotEqual(before.Position.Epoch, after.Position.Epoch);
        Assert.Empty(after.History);
        var position = await nodes[1].PublishAsync(Name("a"), "after", Kept(10));
        Assert.Equal(new(after.Position.Epoch, after.Position.Offset + 1), position);
        await nodes[0].HeardAsync(Name("a"), 1);
        Assert.Equal((position, "after"), nodes[0].Heard(Name("a")).Single());
        Assert.Equal(0, nodes[0].Losses(Name("a")));
    }

    [Fact]
    public async Task Crash_OfOneNode_RemovesOnlyMembersOfThatNode()
    {
        var nodes = await NodesAsync(3);
        for (var i = 0; i < 3; i++) nodes[i].Backplane.SetMember(Name("a"), $"m{i}", default);
        foreach (var node in nodes) await MembersAsync(node, Name("a"), ("m0", ""), ("m1", ""), ("m2", ""));
        await CrashAsync(nodes[2].Backplane);
        foreach (var node in nodes[..2]) await MembersAsync(node, Name("a"), ("m0", ""), ("m1", ""));
    }

    /// <summary>Returns a group name that no other test uses.</summary>
    protected string Name(string group) => $"/{_run}/{group}";

    /// <summary>Creates and starts nodes.</summary>
    private protected async Task<Listener[]> NodesAsync(int count)
    {
        var listeners = new Listener[count];
        for (var i = 0; i < count; i++)
        {
            var node = await CreateNodeAsync();
            _nodes.Add(node);
            listeners[i] = new(node, Patience);
            node.Start(listeners[i]);
        }

        return listeners;
    }

    /// <summary>
    /// Repeats a test with new groups until one round succeeds. A round can fail on a slow computer, because a node that
    /// must catch up can miss transient messages.
    /// </summary>
    /// <param name="description">Describes the success.</param>
    /// <param name="roundAsync">Runs one round with a group. Returns true if the round succeeds.</param>
    Task EventuallyInRoundAsync(string description, Func<string, Task<bool>> roundAsync)
    {
        var round = 0;
        return EventuallyAsync(async () => await roundAsync(Name($"transient {round++}")), description);
    }

    /// <summary>Asserts that each received transient message is at its place between the stored messages.</summary>
    /// <param name="node">The node.</param>
    /// <param name="group">The group. The text of each transient message is its number.</param>
    /// <param name="start">The position before the first stored message.</param>
    /// <param name="storedForEach">The number of stored messages between two transient messages.</param>
    /// <returns>The number of received transient messages.</returns>
    static int CountTransientInOrder(Listener node, string group, Position start, int storedForEach)
    {
        var heard = node.HeardTransient(group);
        var numbers = heard.Select(static message => int.Parse(message.Text, CultureInfo.InvariantCulture)).ToArray();
        Assert.Equal(numbers.Distinct().Order(), numbers);
        Assert.Equal(
            numbers.Select(number => (new Position(start.Epoch, start.Offset + (number * storedForEach)), number * storedForEach, $"{number}")), heard);
        return heard.Length;
    }

    async Task<List<(Position Position, string Text)>> PublishManyAsync(
        Listener[] nodes, string group, int publishers, int each, GroupOptions? history = null, CancellationToken enough = default)
    {
        var publishing = Task.WhenAll(Enumerable.Range(0, publishers).Select(publisher => Task.Run(async () =>
        {
            var positions = new List<(Position, string)>();
            for (var i = 0; i < each && !enough.IsCancellationRequested && !_over.IsCancellationRequested; i++)
            {
                var text = $"{publisher} {i}";
                positions.Add((await nodes[publisher % nodes.Length].PublishAsync(group, text, history), text));
                // Without this pause, a fast backplane would publish millions of messages.
                if (enough.CanBeCanceled && i % 10 == 9) await Task.Delay(1, Token);
            }

            return positions;
        })));
        _publishing.Add(publishing);
        var published = await publishing;
        return [.. published.SelectMany(positions => positions)];
    }

    /// <summary>
    /// Waits until a group has exactly these members. On a busy machine, the heartbeat of a node can be late. The node then
    /// counts as dead for a moment, so a list can be empty directly after a correct count.
    /// </summary>
    async Task MembersAsync(Listener node, string group, params (string Name, string Value)[] expected)
    {
        await EventuallyAsync(
            async () => (await node.Backplane.GetMembersAsync(group, Token)).Select(member => (member.Name, Text(member.Value))).Order().SequenceEqual(expected.Order()),
            $"The members are {string.Join(", ", expected)}.");
        await EventuallyAsync(async () => await node.Backplane.CountMembersAsync(group, Token) == expected.Length, $"There are {expected.Length} members.");
    }

    Task EventuallyAsync(Func<ValueTask<bool>> condition, string description) => Listener.EventuallyAsync(condition, Patience, description);

    static string Text(ReadOnlyMemory<byte> bytes) => Encoding.UTF8.GetString(bytes.Span);

    static CancellationToken Token => TestContext.Current.CancellationToken;
}
