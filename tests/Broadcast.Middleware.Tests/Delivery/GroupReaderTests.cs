using System.Runtime.CompilerServices;
using NSubstitute;

namespace Broadcast.Middleware.Tests.Delivery;

/// <summary>Tests <c>IBroadcaster.ReadAsync</c>, with which the app reads a group.</summary>
public sealed class GroupReaderTests
{
    const string Group = "/orders";

    static readonly Recipients _members = Recipients.Group(Group);

    static CancellationToken Token => TestContext.Current.CancellationToken;

    [Fact]
    public async Task Read_MessagesOfAllKinds_ArriveInOrderWithTheirProperties()
    {
        using var engine = Start();
        await using var reader = engine.Public.ReadAsync(Group, null, Token).GetAsyncEnumerator(Token);
        var first = reader.NextAsync();
        await JoinedAsync(engine);
        var position = (await engine.PublishTextAsync("text", _members, Token)).Position;
        await engine.PublishAsync(new Message(new byte[] { 0, 255 }, MessageType.Binary) { Key = "k" }, _members, Token);
        await engine.PublishAsync(Message.FromText("typing") with { IsTransient = true, Key = "t" }, _members, Token);
        await engine.PublishAsync(new Message("{}"u8.ToArray(), MessageType.Text) { IsJson = true, DisableCompression = true, Tags = MessageTags.Create(("kind", "json")) }, _members, Token);
        await engine.PublishAsync(Message.FromText("all"), default, Token);
        await engine.PublishAsync(Message.FromText("last"), _members.Except("someone"), Token);

        var text = await first;
        Assert.Equal(("text", MessageType.Text, null, position, false), (text.ToString(), text.Message.Type, text.Message.Key, text.Position, text.IsGap));
        Assert.Equal((1, false, false), (text.Position!.Value.Offset, text.Message.IsJson, text.Message.IsTransient));
        var binary = await reader.NextAsync();
        Assert.Equal((MessageType.Binary, "k", 2), (binary.Message.Type, binary.Message.Key, binary.Position!.Value.Offset));
        BytesAssert.Equal(new byte[] { 0, 255 }, binary.Message.Payload.ToArray());
        var typing = await reader.NextAsync();
        Assert.Equal(("typing", "t", true, null), (typing.ToString(), typing.Message.Key, typing.Message.IsTransient, typing.Position));
        var json = await reader.NextAsync();
        Assert.Equal(("{}", true, true, 3), (json.ToString(), json.Message.IsJson, json.Message.DisableCompression, json.Position!.Value.Offset));
        Assert.Equal("json", json.Message.Tags?["kind"]);
        Assert.Equal("last", (await reader.NextAsync()).ToString());
    }

    [Fact]
    public async Task Read_SeveralPublishersAndReaders_ReadersReceiveMessagesInSameOrder()
    {
        const int Publishers = 3, Messages = 2_000, Readers = 5;
        using var engine = Start(options => options.Groups[Group] = new() { HistoryMessages = Publishers * Messages, HistoryBytes = 1 << 24 });
        var readers = Enumerable.Range(0, Readers).Select(number => Task.Run(() => ReadAsync(number), Token)).ToArray();
        await Task.WhenAll(Enumerable.Range(0, Publishers).Select(publisher => Task.Run(async () =>
        {
            for (var i = 0; i < Messages; i++)
            {
                var message = Message.FromText($"{publisher} {i}") with { IsTransient = i % 10 == 9 };
                await engine.PublishAsync(message, _members, Token);
            }
        }, Token)));
        await engine.PublishTextAsync("end", _members, Token);
        var received = await Task.WhenAll(readers).WaitAsync(Eventually.Patience, Token);

        foreach (var texts in received)
        {
            Assert.Equal(received[0], texts);
            for (var publisher = 0; publisher < Publishers; publisher++)
            {
                Assert.Equal(
                    Enumerable.Range(0, Messages).Where(i => i % 10 != 9).Select(i => $"{publisher} {i}"),
                    texts.Where(text => text.StartsWith($"{publisher} ", StringComparison.Ordinal)));
            }
        }

        Assert.Equal(0, engine.Groups.Find(Group)!.Count);

        // Each reader stops and continues at its last position.
        async Task<List<string>> ReadAsync(int number)
        {
            var random = new Random(number);
            var texts = new List<string>();
            var options = new ReadOptions { Replay = Replay.Last(Publishers * Messages) };
            while (true)
            {
                var count = random.Next(1, 500);
                await foreach (var message in engine.Public.ReadAsync(Group, options, Token))
                {
                    if (message.Position is not { } position) continue;
                    options.Replay = Replay.After(position);
                    if (message.ToString() == "end") return texts;
                    texts.Add(message.ToString());
                    if (--count == 0) break;
                }
            }
        }
    }

    /// <summary>
    /// A group has one log for stored messages and one log for transient messages. A reader must receive all messages
    /// in the order in which they were published.
    /// </summary>
    [Fact]
    public async Task Read_StoredAndTransientMessages_ArriveInPublishOrder()
    {
        const int Messages = 3_000;
        using var engine = Start();
        await using var reader = engine.Public.ReadAsync(Group, null, Token).GetAsyncEnumerator(Token);
        var first = reader.NextAsync();
        await JoinedAsync(engine);
        var publishing = Task.Run(async () =>
        {
            for (var i = 0; i < Messages; i++) await engine.PublishAsync(Message.FromText($"{i}") with { IsTransient = i % 3 == 1 }, _members, Token);
        }, Token);

        Assert.Equal("0", (await first).ToString());
        for (var i = 1; i < Messages; i++)
        {
            var message = await reader.NextAsync();
            Assert.Equal(($"{i}", i % 3 == 1), (message.ToString(), message.Message.IsTransient));
        }

        await publishing;
    }

    [Fact]
    public async Task Read_ReplaySet_StartsWithSelectedHistory()
    {
        using var engine = Start(options => options.Groups[Group] = new() { HistoryMessages = 10, ReplayOnJoin = 2 });
        for (var i = 1; i <= 5; i++) await engine.PublishTextAsync($"{i}", _members, Token);
        var epoch = engine.Groups.Find(Group)!.Epoch;

        await ReadsAsync(null, "4", "5");
        await ReadsAsync(new(), "4", "5");
        await ReadsAsync(new() { Replay = Replay.Last(3) }, "3", "4", "5");
        await ReadsAsync(new() { Replay = Replay.After(new(epoch, 1)) }, "2", "3", "4", "5");
        await ReadsAsync(new() { Replay = Replay.After(new(epoch, 5)) });
        await ReadsAsync(new() { Replay = Replay.None });

        async Task ReadsAsync(ReadOptions? options, params string[] history)
        {
            await using var reader = engine.Public.ReadAsync(Group, options).GetAsyncEnumerator(Token);
            var reading = reader.TextsAsync(history.Length + 1);
            await Eventually.True(() => engine.Groups.Find(Group) is { IsEmpty: false });
            await engine.PublishAsync(Message.FromText("live") with { IsTransient = true }, _members);
            string[] expected = [.. history, "live"];
            Assert.Equal(expected, await reading);
        }
    }

    [Theory]
    [InlineData(true, 1)] // The next message was trimmed from the history.
    [InlineData(true, 9)] // The position is after the newest message.
    [InlineData(false, 4)] // The position belongs to another group or epoch.
    public async Task Read_ImpossibleRecovery_ThrowsOrStartsWithGap(bool isOwnEpoch, long offset)
    {
        using var engine = Start(options => options.Groups[Group] = new() { HistoryMessages = 3, ReplayOnJoin = 1 });
        for (var i = 1; i <= 5; i++) await engine.PublishTextAsync($"{i}", _members, Token);
        var epoch = engine.Groups.Find(Group)!.Epoch;
        var replay = Replay.After(new Position(isOwnEpoch ? epoch : epoch + 1, offset));

        await using (var strict = engine.Public.ReadAsync(Group, new() { Replay = replay }, Token).GetAsyncEnumerator(Token))
        {
            var error = await Assert.ThrowsAsync<MessagesMissedException>(() => strict.MoveAsync());
            Assert.Contains("no longer has all messages", error.Message, StringComparison.Ordinal);
            Assert.False(await strict.MoveAsync());
        }

        await Eventually.True(() => engine.Groups.Find(Group)!.IsEmpty);
        await using var tolerant = engine.Public.ReadAsync(Group, new() { Replay = replay, SlowConsumer = SlowConsumer.SkipToLatest }, Token)
            .GetAsyncEnumerator(Token);
        var gap = await tolerant.NextAsync();
        Assert.Equal((true, null, new Position(epoch, 4)), (gap.IsGap, gap.MissedMessages, gap.Position));
        Assert.True(gap.Message.Payload.IsEmpty);
        Assert.Equal("5", (await tolerant.NextAsync()).ToString());
    }

    /// <summary>
    /// The pump runs the new reader while the consumer starts to wait. So many attempts are necessary to test all
    /// orders of their steps.
    /// </summary>
    [Fact]
    public async Task Read_ImpossibleRecovery_ThrowsBeforeFirstMessage()
    {
        using var engine = Start(options => options.Groups[Group] = new() { HistoryMessages = 3, ReplayOnJoin = 1 });
        await engine.PublishTextAsync("history", _members, Token);
        var options = new ReadOptions { Replay = Replay.After(new Position(engine.Groups.Find(Group)!.Epoch + 1, 1)) };
        for (var i = 0; i < 30_000; i++)
        {
            await using var reader = engine.Public.ReadAsync(Group, options, Token).GetAsyncEnumerator(Token);
            await Assert.ThrowsAsync<MessagesMissedException>(() => reader.MoveNextAsync().AsTask());
        }
    }

    [Fact]
    public async Task Read_TooFarBehind_ThrowsAndLeavesTheGroup()
    {
        using var engine = Start(maxBacklog: 4096);
        await using var reader = engine.Public.ReadAsync(Group, null, Token).GetAsyncEnumerator(Token);
        var first = reader.NextAsync();
        await JoinedAsync(engine);
        await engine.PublishTextAsync("0", _members, Token);
        Assert.Equal("0", (await first).ToString());

        // The app does not call MoveNextAsync, so the reader falls behind. The reader ends as soon as it is too far
        // behind, so that it keeps no messages in memory.
        for (var i = 1; engine.Groups.Find(Group) is not null; i++)
        {
            Assert.InRange(i, 1, 100_000);
            await engine.PublishTextAsync($"{i} {new string('x', 100)}", _members, Token);
            if (i % 100 == 0) await Task.Yield();
        }

        var error = await Assert.ThrowsAsync<MessagesMissedException>(async () =>
        {
            // Messages that the pump has already taken are still available.
            for (var i = 1; await reader.MoveAsync(); i++) Assert.StartsWith($"{i} ", reader.Current.ToString(), StringComparison.Ordinal);
        });
        Assert.Contains("MaxBacklogBytes (4096)", error.Message, StringComparison.Ordinal);
        Assert.False(await reader.MoveAsync());
    }

    [Fact]
    public async Task Read_SkipToLatest_ReportsTheNumberOfMissedMessages()
    {
        const int Messages = 5_000;
        using var engine = Start(maxBacklog: 4096);
        await using var reader = engine.Public.ReadAsync(Group, new() { SlowConsumer = SlowConsumer.SkipToLatest }, Token).GetAsyncEnumerator(Token);
        var first = reader.NextAsync();
        await JoinedAsync(engine);
        await engine.PublishTextAsync("0", _members, Token);
        Assert.Equal("0", (await first).ToString());
        for (var i = 1; i < Messages; i++) await engine.PublishTextAsync($"{i}", _members, Token);

        var (next, gaps) = (1L, 0);
        while (next < Messages)
        {
            var item = await reader.NextAsync();
            if (item.IsGap)
            {
                gaps++;
                Assert.InRange(item.MissedMessages!.Value, 1, Messages);
                next += item.MissedMessages.Value;
                continue;
            }

            Assert.Equal($"{next}", item.ToString());
            next++;
        }

        Assert.Equal(Messages, next);
        Assert.InRange(gaps, 1, Messages);
    }

    [Fact]
    public async Task Read_Conflate_SkipsReplacedMessagesWithoutGap()
    {
        using var engine = Start();
        await using var reader = engine.Public.ReadAsync(Group, new() { SlowConsumer = SlowConsumer.Conflate }, Token).GetAsyncEnumerator(Token);
        var first = reader.NextAsync();
        await JoinedAsync(engine);
        await PublishAsync("a", 0);
        Assert.Equal("a 0", (await first).ToString());

        // The app does not call MoveNextAsync while these messages are published.
        for (var i = 1; i <= 50; i++)
        {
            await PublishAsync("a", i);
            await PublishAsync("b", i);
        }

        await engine.PublishTextAsync("without key", _members, Token);
        Assert.Equal(["a 50", "b 50", "without key"], await reader.TextsAsync(3));

        async Task PublishAsync(string key, int value) =>
            await engine.PublishAsync(Message.FromText($"{key} {value}") with { Key = key }, _members);
    }

    /// <summary>
    /// The setting of a group must not make a reader skip messages, because the reading code may be unable to handle
    /// gaps.
    /// </summary>
    [Fact]
    public async Task Read_GroupWithSkipToLatest_ThrowsWhenTooFarBehind()
    {
        using var engine = Start(options => options.Groups[Group] = new() { SlowConsumer = SlowConsumer.SkipToLatest }, 4096);
        await using var reader = engine.Public.ReadAsync(Group, null, Token).GetAsyncEnumerator(Token);
        var first = reader.NextAsync();
        await JoinedAsync(engine);
        await engine.PublishTextAsync("0", _members, Token);
        await first;
        for (var i = 1; i <= 1000; i++) await engine.PublishTextAsync($"{i}", _members, Token);
        await Assert.ThrowsAsync<MessagesMissedException>(async () =>
        {
            while (await reader.MoveAsync()) Assert.False(reader.Current.IsGap);
        });
    }

    [Theory]
    [InlineData(false)]
    [InlineData(true)]
    public async Task Cancel_WaitingReader_ThrowsAndLeavesTheGroup(bool cancelsEnumerator)
    {
        using var engine = Start();
        using var cancellation = new CancellationTokenSource();
        using var other = new CancellationTokenSource();
        var messages = engine.Public.ReadAsync(Group, null, cancelsEnumerator ? other.Token : cancellation.Token);
        var reading = Task.Run(
            async () =>
            {
                await foreach (var message in messages.WithCancellation(cancelsEnumerator ? cancellation.Token : other.Token)) Assert.Fail(message.ToString());
            },
            Token);
        await JoinedAsync(engine);
        await cancellation.CancelAsync();
        await Assert.ThrowsAnyAsync<OperationCanceledException>(() => reading.WaitAsync(Eventually.Patience, Token));
        await Eventually.True(() => engine.Groups.Count == 0);
    }

    [Fact]
    public async Task Cancel_BeforeAndBetweenItems_ThrowsWithoutFurtherItems()
    {
        using var engine = Start();
        using var cancellation = new CancellationTokenSource();
        await using var reader = engine.Public.ReadAsync(Group, null, cancellation.Token).GetAsyncEnumerator(Token);
        var first = reader.NextAsync();
        await JoinedAsync(engine);
        for (var i = 0; i < 10; i++) await engine.PublishTextAsync($"{i}", _members, Token);
        await first;
        await cancellation.CancelAsync();
        await Assert.ThrowsAnyAsync<OperationCanceledException>(() => reader.MoveAsync());
        await using var late = engine.Public.ReadAsync(Group, null, cancellation.Token).GetAsyncEnumerator(Token);
        await Assert.ThrowsAnyAsync<OperationCanceledException>(() => late.MoveAsync());
        await Eventually.True(() => engine.Groups.Count == 0);
    }

    [Fact]
    public async Task Dispose_JoinedReader_LeavesGroupImmediately()
    {
        using var engine = Start();
        var reader = engine.Public.ReadAsync(Group, null, Token).GetAsyncEnumerator(Token);
        var first = reader.NextAsync();
        await JoinedAsync(engine);
        await engine.PublishTextAsync("0", _members, Token);
        await first;
        await reader.DisposeAsync();
        Assert.Equal(0, engine.Groups.Count);
        Assert.False(await reader.MoveAsync());
        await reader.DisposeAsync();
        // A reader that never starts does not join.
        await engine.Public.ReadAsync(Group, null, Token).GetAsyncEnumerator(Token).DisposeAsync();
        Assert.Equal(0, engine.Groups.Count);
    }

    [Fact]
    public async Task MoveNext_DisposedBeforeStart_ReturnsFalseAndDoesNotJoin()
    {
        using var engine = Start();
        var reader = engine.Public.ReadAsync(Group, null, Token).GetAsyncEnumerator(Token);
        await reader.DisposeAsync();
        Assert.False(await reader.MoveAsync());
        Assert.Equal(0, engine.Groups.Count);
    }

    /// <summary>Readers that join and leave while messages arrive must not affect other readers.</summary>
    [Fact]
    public async Task Dispose_WhilePublishing_OtherReaderReceivesAllMessages()
    {
        const int Messages = 5_000;
        using var engine = Start();
        var reading = Task.Run(() => ReadToEndAsync(engine), Token);
        await JoinedAsync(engine);
        var publishing = Task.Run(
            async () =>
            {
                for (var i = 0; i < Messages; i++)
                {
                    await engine.PublishTextAsync($"{i}", _members, Token);
                    if (i % 100 == 0) await Task.Yield();
                }
            },
            Token);
        var disposed = 0;
        while (!publishing.IsCompleted || disposed < 100)
        {
            using var cancellation = CancellationTokenSource.CreateLinkedTokenSource(Token);
            var reader = engine.Public.ReadAsync(Group, null, cancellation.Token).GetAsyncEnumerator(Token);
            var move = reader.MoveNextAsync().AsTask();
            if (disposed++ % 2 == 0) await cancellation.CancelAsync();
            else await engine.PublishAsync(Message.FromText("wake up") with { IsTransient = true }, _members, Token);
            await Task.WhenAny(move).WaitAsync(Eventually.Patience, Token);
            await reader.DisposeAsync();
        }

        await publishing;
        await engine.PublishTextAsync("end", _members, Token);
        Assert.Equal(Enumerable.Range(0, Messages).Select(i => $"{i}"), await reading.WaitAsync(Eventually.Patience, Token));
        await Eventually.True(() => engine.Groups.Count == 0);
    }

    static async Task<List<string>> ReadToEndAsync(TestEngine engine)
    {
        var texts = new List<string>();
        await foreach (var item in engine.Public.ReadAsync(Group, null, Token))
        {
            if (item.Position is null) continue;
            if (item.ToString() == "end") return texts;
            texts.Add(item.ToString());
        }

        return texts;
    }

    [Fact]
    public async Task Reader_NotDisposed_IsCollectedAndLeavesGroup()
    {
        using var engine = Start();
        var abandoned = await AbandonAsync(engine);
        await Eventually.True(() =>
        {
            GC.Collect();
            GC.WaitForPendingFinalizers();
            return engine.Groups.Count == 0;
        });
        Assert.False(abandoned.IsAlive);
    }

    [MethodImpl(MethodImplOptions.NoInlining)]
    static async Task<WeakReference> AbandonAsync(TestEngine engine)
    {
        var reader = engine.Public.ReadAsync(Group).GetAsyncEnumerator(CancellationToken.None);
        var first = reader.NextAsync();
        await JoinedAsync(engine);
        await engine.PublishTextAsync("0", _members);
        await first;
        return new(reader);
    }

    [Fact]
    public async Task Reader_JoinedGroup_IsNoMemberAndNoRecipient()
    {
        using var engine = Start();
        await using var reader = engine.Public.ReadAsync(Group, null, Token).GetAsyncEnumerator(Token);
        var reading = reader.TextsAsync(3);
        await JoinedAsync(engine);
        Assert.Equal(0, (await engine.PublishTextAsync("1", _members, Token)).LocalRecipients);
        var sink = new ManualSink();
        var connection = engine.Connect(null, Group, sink);
        Assert.Equal(1, (await engine.PublishTextAsync("2", _members, Token)).LocalRecipients);
        Assert.Equal(1, (await engine.PublishAsync(Message.FromText("3") with { IsTransient = true }, _members, Token)).LocalRecipients);
        Assert.Equal((1, 1), (engine.Connections.Count, engine.Connections.CountGroupMembers(Group)));
        Assert.Single(await engine.Presence.GetMembersAsync(Group, Token));
        Assert.Equal(["1", "2", "3"], await reading);

        // The group stays while it has a reader.
        await engine.DisconnectAsync(connection);
        var next = reader.NextAsync();
        Assert.Equal(0, (await engine.PublishTextAsync("4", _members, Token)).LocalRecipients);
        Assert.Equal("4", (await next).ToString());
    }

    /// <summary>
    /// Messages that the pump has taken together need one allocation each: the copy of the payload. The test stays on one thread, because
    /// these messages are available synchronously. The first block of the log has 512 bytes, so the pump takes 15 messages together.
    /// </summary>
    [Fact]
    public async Task Read_AvailableMessages_AllocateOnlyTheirPayload()
    {
        const int Messages = 200, PayloadBytes = 32, ArrayBytes = 24 + PayloadBytes;
        using var engine = Start(options => options.Groups[Group] = new() { HistoryMessages = 1000 });
        for (var i = 0; i < Messages + 1; i++) await engine.PublishAsync(new Message(new byte[PayloadBytes], MessageType.Binary), _members, Token);
        await using var reader = engine.Public.ReadAsync(Group, new() { Replay = Replay.Last(1000) }, Token).GetAsyncEnumerator(Token);
        await reader.NextAsync();

        var (count, allocated) = Measure();
        Assert.Equal((10, 10L * ArrayBytes), (count, allocated));

        (int Count, long Allocated) Measure()
        {
            var (read, allocated) = (0, 0L);
            while (read < 10)
            {
                var before = GC.GetAllocatedBytesForCurrentThread();
#pragma warning disable CA2012 // The assertion checks that the task has completed.
                var moving = reader.MoveNextAsync();
                if (!moving.IsCompleted) break;
                Assert.True(moving.GetAwaiter().GetResult());
#pragma warning restore CA2012
                read++;
                // A call of MoveNextAsync that waits allocates memory. So count only the calls that complete
                // synchronously.
                allocated += GC.GetAllocatedBytesForCurrentThread() - before;
            }

            return (read, allocated);
        }
    }

    [Fact]
    public async Task Cluster_TwoNodes_ReaderReceivesMessagesAndReleasesTheGroup()
    {
        var cluster = new InMemoryCluster();
        using var one = Start(backplane: cluster.CreateNode());
        using var two = Start(backplane: cluster.CreateNode());
        var groups = cluster.Count;
        var reader = one.Public.ReadAsync(Group, null, Token).GetAsyncEnumerator(Token);
        var reading = reader.TextsAsync(3);
        await JoinedAsync(one);
        for (var i = 1; i <= 2; i++) await two.PublishTextAsync($"{i}", _members, Token);
        await two.PublishAsync(Message.FromText("3") with { IsTransient = true }, _members, Token);
        Assert.Equal(["1", "2", "3"], await reading);
        Assert.Equal(groups + 1, cluster.Count);
        await reader.DisposeAsync();
        Assert.Equal(groups, cluster.Count);
    }

    [Theory]
    [InlineData(SlowConsumer.Disconnect)]
    [InlineData(SlowConsumer.SkipToLatest)]
    public async Task Cluster_LosesMessages_ReaderThrowsAfterEarlierMessages(SlowConsumer whenSlow)
    {
        var cluster = new InMemoryCluster();
        using var engine = Start(backplane: cluster.CreateNode());
        var reader = engine.Public.ReadAsync(Group, new() { SlowConsumer = whenSlow }, Token).GetAsyncEnumerator(Token);
        var first = reader.NextAsync();
        await JoinedAsync(engine);
        await engine.PublishTextAsync("1", _members, Token);
        await engine.PublishTextAsync("2", _members, Token);
        cluster.Forget();
        Assert.Equal("1", (await first).ToString());
        Assert.Equal("2", (await reader.NextAsync()).ToString());
        var error = await Assert.ThrowsAsync<MessagesMissedException>(() => reader.MoveAsync());
        Assert.Contains("cluster has lost", error.Message, StringComparison.Ordinal);

        // A new reader receives messages immediately.
        await using var again = engine.Public.ReadAsync(Group, null, Token).GetAsyncEnumerator(Token);
        var next = again.NextAsync();
        await JoinedAsync(engine);
        await engine.PublishTextAsync("3", _members, Token);
        Assert.Equal("3", (await next).ToString());
    }

    [Fact]
    public async Task Cluster_Unreachable_ReaderThrowsBackplaneException()
    {
        var backplane = new FaultyBackplane(new InMemoryCluster().CreateNode()) { UnreachableGroup = Group };
        using var engine = Start(backplane: backplane);
        await using var reader = engine.Public.ReadAsync(Group, null, Token).GetAsyncEnumerator(Token);
        await Assert.ThrowsAsync<BackplaneException>(() => reader.MoveAsync());
        Assert.False(await reader.MoveAsync());
    }

    [Fact]
    public async Task Shutdown_OpenReaders_EndAfterPublishedMessagesAndNewReadersAreEmpty()
    {
        await using var app = await InMemoryApp.StartAsync(options: options => options.Groups[Group] = new() { HistoryMessages = 10, ReplayOnJoin = 10 });
        await using var reader = app.Broadcaster.ReadAsync(Group, null, Token).GetAsyncEnumerator(Token);
        await using var waiting = app.Broadcaster.ReadAsync(Group, null, Token).GetAsyncEnumerator(Token);
        for (var i = 1; i <= 3; i++) await app.Broadcaster.PublishAsync($"{i}", _members, cancellationToken: Token);
        Assert.Equal(["1", "2", "3"], await waiting.TextsAsync(3));
        var last = waiting.MoveAsync();
        Assert.Equal("1", (await reader.NextAsync()).ToString());
        app.StopApplication();
        Assert.Equal(["2", "3"], await reader.TextsAsync(2));
        Assert.False(await reader.MoveAsync());
        Assert.False(await last);
        await using var late = app.Broadcaster.ReadAsync(Group, null, Token).GetAsyncEnumerator(Token);
        Assert.False(await late.MoveAsync());
    }

    [Fact]
    public void Read_InvalidArguments_Throws()
    {
        using var engine = Start();
        Assert.Throws<ArgumentException>(() => engine.Public.ReadAsync("", null, Token));
        Assert.Throws<ArgumentException>(() => engine.Public.ReadAsync("a\nb", null, Token));
        var error = Assert.Throws<ArgumentException>(() => engine.Public.ReadAsync(Group, new() { SlowConsumer = (SlowConsumer)9 }, Token));
        Assert.Contains("SlowConsumer is 9", error.Message, StringComparison.Ordinal);
    }

    [Fact]
    public async Task Read_SubstituteInUnitTest_ReturnsItems()
    {
        var broadcaster = Substitute.For<IBroadcaster>();
        broadcaster.ReadAsync(Group, null, Arg.Any<CancellationToken>()).Returns(
            new[] { new ReceivedMessage(Message.FromText("a"), new Position(1, 2)), ReceivedMessage.CreateGap(3) }.ToAsyncEnumerable());
        var items = await broadcaster.ReadAsync(Group, cancellationToken: Token).Select(item => item.ToString()).ToArrayAsync(Token);
        Assert.Equal(["a", "3 missed messages"], items);
        Assert.Equal("unknown missed messages", ReceivedMessage.CreateGap(null).ToString());
    }

    [Fact]
    public async Task Read_PublishToGroupWithoutMembersIsRefused_ReceivesNextMessage()
    {
        using var engine = Start(static options => options.Groups[Group] = new() { RetainLatestPerKey = true, MaxRetainedBytes = 1_000 });
        await using var reader = engine.Public.ReadAsync(Group, null, Token).GetAsyncEnumerator(Token);
        var next = reader.NextAsync();
        await JoinedAsync(engine);
        var large = new Message(new byte[2_000], MessageType.Binary) { Key = "a" };
        await Assert.ThrowsAsync<InvalidOperationException>(async () => await engine.PublishAsync(large, _members, Token));
        await engine.PublishTextAsync("next", _members, Token);
        Assert.Equal("next", (await next).ToString());
    }

    static TestEngine Start(Action<BroadcastOptions>? configure = null, int maxBacklog = 1 << 20, IBackplane? backplane = null) =>
        new(pumps: 0, maxBacklog, configure: configure, backplane: backplane);

    /// <summary>Waits until the reader has joined.</summary>
    static Task JoinedAsync(TestEngine engine) => Eventually.True(() => engine.Groups.Find(Group) is { IsEmpty: false, IsRemoved: false });
}
