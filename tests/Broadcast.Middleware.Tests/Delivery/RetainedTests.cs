using System.Runtime.CompilerServices;
using CsCheck;

namespace Broadcast.Middleware.Tests.Delivery;

/// <summary>Tests groups that retain the newest message of each key.</summary>
[Collection(nameof(NotParallelCollection))]
public sealed class RetainedTests
{
    const string Name = "/g";

    static CancellationToken Token => TestContext.Current.CancellationToken;

    [Fact]
    public void Join_RetainedMessages_ReceivesNewestOfEachKeyThenLiveMessages()
    {
        using var broadcast = Start();
        foreach (var (id, key) in new[] { (1, "a"), (2, "b"), (3, null), (4, "a"), (5, "c") }) Publish(broadcast, id, key);
        var listener = new Listener(broadcast);

        var result = listener.Join(Name);
        Publish(broadcast, 6, "b");
        broadcast.RunUntilIdle();

        listener.AssertGot(2, 4, 5, 6);
        // The position is directly before the first message. So a client that disconnects before this message can
        // recover all messages.
        Assert.Equal((null, 1L), (result.Recovered, result.Position!.Value.Offset));
    }

    [Fact]
    public void Join_KeyRemoved_ReceivesNeitherValueNorRemoval()
    {
        using var broadcast = Start();
        var member = new Listener(broadcast);
        member.Join(Name);
        Publish(broadcast, 1, "a");
        Publish(broadcast, 2, "b");
        Publish(broadcast, 3, "a", removes: true);
        var listener = new Listener(broadcast);

        listener.Join(Name);
        broadcast.RunUntilIdle();

        listener.AssertGot(2);
        member.AssertGot(1, 2, 3);
    }

    [Fact]
    public void TransientMessage_WithRetainedKey_KeepsRetainedMessage()
    {
        using var broadcast = Start();
        var member = new Listener(broadcast);
        member.Join(Name);
        Publish(broadcast, 1, "a");
        broadcast.Publish(new(Payload.Make(2, 4), MessageType.Binary) { Key = "a", IsTransient = true }, Recipients.Group(Name));
        broadcast.Publish(new(Payload.Make(3, 4), MessageType.Binary) { Key = "b", IsTransient = true }, Recipients.Group(Name));
        var listener = new Listener(broadcast);

        listener.Join(Name);
        broadcast.RunUntilIdle();

        listener.AssertGot(1);
        member.AssertGot(1, 2, 3);
    }

    [Fact]
    public void Join_ReplayNone_ReceivesNoRetainedMessage()
    {
        using var broadcast = Start();
        Publish(broadcast, 1, "a");
        var listener = new Listener(broadcast);

        var result = listener.Join(Name, Replay.None);
        Publish(broadcast, 2, "a");
        broadcast.RunUntilIdle();

        listener.AssertGot(2);
        Assert.Equal(1, result.Position!.Value.Offset);
    }

    [Fact]
    public void Join_RetainedMessageIsInReplay_ReceivesMessageOnce()
    {
        using var broadcast = Start(new() { HistoryMessages = 100, ReplayOnJoin = 2 });
        foreach (var (id, key) in new[] { (1, "a"), (2, "b"), (3, "a"), (4, "c") }) Publish(broadcast, id, key);
        var listener = new Listener(broadcast);

        listener.Join(Name);
        broadcast.RunUntilIdle();

        listener.AssertGot(2, 3, 4);
    }

    [Fact]
    public void Join_AfterPositionOutsideHistory_ReceivesRetainedMessages()
    {
        using var broadcast = Start(new() { HistoryMessages = 2 });
        var first = Publish(broadcast, 1, "a").Position!.Value;
        foreach (var (id, key) in new[] { (2, "b"), (3, "a"), (4, "a") }) Publish(broadcast, id, key);
        var (late, current) = (new Listener(broadcast), new Listener(broadcast));

        var lost = late.Join(Name, Replay.After(first));
        var recovered = current.Join(Name, Replay.After(first with { Offset = 3 }));
        broadcast.RunUntilIdle();

        Assert.Equal((false, true), (lost.Recovered, recovered.Recovered));
        late.AssertGot(2, 4);
        current.AssertGot(4);
    }

    [Fact]
    public void Join_RetainedMessageExcludesMember_SkipsMessage()
    {
        using var broadcast = Start();
        var listener = new Listener(broadcast);
        Publish(broadcast, 1, "a");
        broadcast.Publish(
            new(Payload.Make(2, 4), MessageType.Binary) { Key = "b" }, Recipients.Group(Name).Except(listener.Connection.Id));
        var other = new Listener(broadcast);

        listener.Join(Name);
        other.Join(Name);
        broadcast.RunUntilIdle();

        listener.AssertGot(1);
        other.AssertGot(1, 2);
    }

    [Fact]
    public void PublishToSeveralGroups_MessageWithKey_IsRetainedInEachGroup()
    {
        using var broadcast = Start();
        broadcast.Publish(new(Payload.Make(1, 4), MessageType.Binary) { Key = "a" }, Recipients.Groups(Name, Name + "2"));
        Publish(broadcast, 2, "a");
        var (both, second) = (new Listener(broadcast), new Listener(broadcast));

        both.Join(Name);
        both.Join(Name + "2");
        second.Join(Name + "2");
        broadcast.RunUntilIdle();

        both.AssertGot(1, 2);
        second.AssertGot(1);
    }

    [Fact]
    public void Join_ManyMembers_ShareOneSnapshot()
    {
        using var broadcast = Start();
        for (var i = 0; i < 10; i++) Publish(broadcast, i, $"{i}");
        var cursors = Enumerable.Range(0, 100).Select(_ =>
        {
            var listener = new Listener(broadcast);
            listener.Sink.Mode = WriteMode.Later;
            return Assert.IsType<Block>(StartOf(broadcast, listener));
        }).ToList();

        Assert.Single(cursors.Distinct());
        Assert.True(cursors[0].IsRetained);
    }

    [Fact]
    public void Join_SnapshotAboveMaxRetainedBytes_IsSharedUntilLaterBytesExceedEighthOfLimit()
    {
        // In a cluster, the values can exceed the limit. The log keeps only one eighth of the limit for an older snapshot.
        var limits = new GroupOptions { RetainLatestPerKey = true, MaxRetainedBytes = 8 * 1024 };
        var settings = LogSettings.Create(new() { Groups = { [Name] = limits } }, new(1 << 20), new(1 << 20), limits);
        var log = new MessageLog(new SequenceClock(), settings, retained: new(limits, TimeProvider.System));
        for (var i = 0; i < 64; i++) Append($"{i}", 1_000);
        var start = Join();
        Append("0", 500);
        Assert.Same(start, Join());
        Append("1", 600);
        Assert.NotSame(start, Join());

        Block Join()
        {
            lock (log.Gate) return log.FindLocked(default, out _).Block;
        }

        void Append(string key, int size)
        {
            lock (log.Gate) log.AppendLocked(new(Payload.Make(1, size), MessageType.Binary) { Key = key }, null);
        }
    }

    [Fact]
    public void Publish_TooManyRetainedKeys_ThrowsAndDeliversNothing()
    {
        using var broadcast = Start(new() { MaxRetainedKeys = 2 });
        var member = new Listener(broadcast);
        member.Join(Name);
        Publish(broadcast, 1, "a");
        Publish(broadcast, 2, "b");

        var error = Assert.Throws<InvalidOperationException>(() => Publish(broadcast, 3, "c"));

        Assert.Equal(
            "The group '/g' cannot retain the message. The group would have 3 keys, and MaxRetainedKeys is 2. Remove a key with " +
            "Message.RemoveKey, publish the message without a key, or raise the option.", error.Message);
        Publish(broadcast, 4, "b");
        Publish(broadcast, 5, "a", removes: true);
        Publish(broadcast, 6, "c");
        broadcast.RunUntilIdle();
        member.AssertGot(1, 2, 4, 5, 6);
        var later = new Listener(broadcast);
        later.Join(Name);
        broadcast.RunUntilIdle();
        later.AssertGot(4, 6);
    }

    [Fact]
    public void Publish_TooManyRetainedBytes_ThrowsAndRetainsNothing()
    {
        using var broadcast = Start(new() { MaxRetainedBytes = 1_024 });
        Publish(broadcast, 1, "a", size: 400);
        Publish(broadcast, 2, "b", size: 400);

        var error = Assert.Throws<InvalidOperationException>(() => Publish(broadcast, 3, "a", size: 600));

        Assert.Equal(
            "The group '/g' cannot retain the message. The retained values would have 1074 bytes, and MaxRetainedBytes is 1024. " +
            "Publish a shorter message, remove a key with Message.RemoveKey, or raise the option.", error.Message);
        Publish(broadcast, 4, "a", size: 500);
        var later = new Listener(broadcast);
        later.Join(Name);
        broadcast.RunUntilIdle();
        later.AssertGot(2, 4);
    }

    /// <summary>A value also keeps its tags and its excluded connections in memory, so these count toward the limit.</summary>
    [Theory]
    [InlineData(true)]
    [InlineData(false)]
    public void Publish_ManyKeysWithTagsOrExclusions_RespectsMaxRetainedBytes(bool hasTags)
    {
        using var broadcast = Start();
        var tags = MessageTags.Create([.. Enumerable.Range(0, 16).Select(i => ($"{i}".PadLeft(32, 'k'), new string('v', 128)))]);
        string[] excluded = [.. Enumerable.Range(0, 100).Select(i => $"{i}".PadLeft(22, 'c'))];
        // The frame has 6 bytes, and the key has 4 bytes.
        var size = 6 + 4 + 32 + (hasTags ? 16 * ((2 * 160) + 32) : 100 * ((2 * 22) + 32));
        var accepted = 0;

        var error = Assert.Throws<InvalidOperationException>(() =>
        {
            for (; accepted < 10_000; accepted++) PublishFull($"{accepted:0000}");
        });

        Assert.Equal((1 << 20) / size, accepted);
        Assert.Contains("MaxRetainedBytes is 1048576", error.Message, StringComparison.Ordinal);
        // A value without tags and exclusions makes room for another value.
        Publish(broadcast, 1, "0000");
        PublishFull("last");
        Assert.Throws<InvalidOperationException>(() => PublishFull("none"));

        void PublishFull(string key) => broadcast.Publish(
            new(Payload.Make(1, 4), MessageType.Binary) { Key = key, Tags = hasTags ? tags : null },
            hasTags ? Recipients.Group(Name) : Recipients.Group(Name).Except(excluded));
    }

    [Fact]
    public void Publish_ToSeveralGroupsWithOneFull_ReachesNoGroup()
    {
        using var broadcast = Start(new() { MaxRetainedKeys = 1 });
        var listener = new Listener(broadcast);
        listener.Join(Name);
        listener.Join(Name + "2");
        broadcast.Publish(new(Payload.Make(1, 4), MessageType.Binary) { Key = "a" }, Recipients.Group(Name + "2"));

        Assert.Throws<InvalidOperationException>(() => broadcast.Publish(
            new(Payload.Make(2, 4), MessageType.Binary) { Key = "b" }, Recipients.Groups(Name, Name + "2")));

        Publish(broadcast, 3, "c");
        broadcast.RunUntilIdle();
        listener.AssertGot(1, 3);
    }

    [Fact]
    public async Task Publish_RefusedMessageWithId_CanBeRepeated()
    {
        using var broadcast = Start(new() { MaxRetainedKeys = 1 });
        Publish(broadcast, 1, "a");
        var message = new Message(Payload.Make(2, 4), MessageType.Binary) { Key = "b", Id = "id" };
        await Assert.ThrowsAsync<InvalidOperationException>(() => broadcast.PublishAsync(message, Recipients.Group(Name), Token).AsTask());
        Publish(broadcast, 3, "a", removes: true);

        Assert.False((await broadcast.PublishAsync(message, Recipients.Group(Name), Token)).IsDuplicate);
        Assert.True((await broadcast.PublishAsync(message, Recipients.Group(Name), Token)).IsDuplicate);
    }

    [Fact]
    public async Task Publish_InvalidKey_StatesProblemAndFix()
    {
        using var broadcast = Start();
        await IsRefusedAsync(new() { Key = "" }, "The message key has 0 characters. Use 1 to 256 characters, or set Key to null.");
        await IsRefusedAsync(
            new() { Key = new('x', 257) }, "The message key has 257 characters. Use 1 to 256 characters, or set Key to null.");
        await IsRefusedAsync(
            new() { Key = "a\ud800" },
            "The message key contains an unpaired surrogate (U+D800 to U+DFFF), which UTF-8 cannot encode. Use valid Unicode text, " +
            "or set Key to null.");
        await IsRefusedAsync(
            new() { RemoveKey = true },
            "RemoveKey is set, but the message has no key. Set Key to the key to remove, or clear RemoveKey.");
        await IsRefusedAsync(
            new() { Key = "a", RemoveKey = true, IsTransient = true },
            "A transient message cannot remove a key, because the server stores nothing about it. Clear IsTransient, or clear RemoveKey.");
        var longest = new Message("x"u8.ToArray(), MessageType.Text) { Key = new('x', 256) };
        Assert.Equal(1, (await broadcast.PublishAsync(longest, Recipients.Group(Name), Token)).Position!.Value.Offset);

        async Task IsRefusedAsync(Message properties, string problem)
        {
            var message = new Message("x"u8.ToArray(), MessageType.Text)
            {
                Key = properties.Key, RemoveKey = properties.RemoveKey, IsTransient = properties.IsTransient,
            };
            var error = await Assert.ThrowsAsync<ArgumentException>(() => broadcast.PublishAsync(message, Recipients.Group(Name), Token).AsTask());
            Assert.StartsWith(problem, error.Message, StringComparison.Ordinal);
        }
    }

    [Fact]
    public void EmptyGroup_WithRetainedMessages_StaysUntilRetainedAgeOrKeyRemoval()
    {
        using var broadcast = Start(new() { RetainedAge = TimeSpan.FromHours(1) });
        var listener = new Listener(broadcast);
        listener.Join(Name);
        Publish(broadcast, 1, "a");
        // The age counts from the time at which the group became empty.
        broadcast.Time.Advance(TimeSpan.FromHours(2));
        listener.Disconnect();
        broadcast.RunUntilIdle();
        broadcast.Time.Advance(TimeSpan.FromMinutes(59));
        Assert.NotNull(broadcast.Groups.Find(Name));
        Publish(broadcast, 2, "b");
        // The next heartbeat notices the new message. The age counts from this heartbeat.
        broadcast.Time.Advance(TimeSpan.FromMinutes(1));
        broadcast.Time.Advance(TimeSpan.FromMinutes(58));
        Assert.NotNull(broadcast.Groups.Find(Name));
        broadcast.Time.Advance(TimeSpan.FromMinutes(5));
        Assert.Null(broadcast.Groups.Find(Name));

        Publish(broadcast, 3, "a");
        broadcast.Time.Advance(TimeSpan.FromMinutes(1));
        Assert.NotNull(broadcast.Groups.Find(Name));
        Publish(broadcast, 4, "a", removes: true);
        broadcast.Time.Advance(TimeSpan.FromMinutes(1));
        Assert.Null(broadcast.Groups.Find(Name));
    }

    [Fact]
    public void EmptyGroups_AboveLimit_OldestGroupLosesRetainedMessages()
    {
        using var broadcast = new TestEngine(configure: options =>
        {
            options.Groups["/g*"] = new() { RetainLatestPerKey = true };
            options.MaxEmptyGroups = 2;
        });
        foreach (var id in new[] { 1, 2, 3 })
            broadcast.Publish(new(Payload.Make(id, 4), MessageType.Binary) { Key = "a" }, Recipients.Group($"/g{id}"));
        var listener = new Listener(broadcast);

        foreach (var id in new[] { 1, 2, 3 }) listener.Join($"/g{id}");
        broadcast.RunUntilIdle();

        listener.AssertGot(2, 3);
    }

    [Fact]
    public void Publish_NothingToRetainForMissingGroup_CreatesNoGroup()
    {
        using var broadcast = Start();

        Assert.Equal(default, Publish(broadcast, 1, null));
        Assert.Equal(default, Publish(broadcast, 2, "a", removes: true));
        broadcast.Publish(new(Payload.Make(3, 4), MessageType.Binary) { Key = "a", RemoveKey = true }, Recipients.Groups(Name, Name + "2"));

        Assert.Null(broadcast.Groups.Find(Name));
    }

    [Fact]
    public void SlowMember_WithConflate_SkipsReplacedRetainedMessages()
    {
        using var broadcast = Start(new() { SlowConsumer = SlowConsumer.Conflate }, maxBacklog: 4_000);
        for (var i = 0; i < 10; i++) Publish(broadcast, i, $"{i}", size: 100);
        var listener = new Listener(broadcast);
        listener.Sink.Mode = WriteMode.Later;
        broadcast.Publish(new(Payload.Make(100, 4), MessageType.Binary), Recipients.Connection(listener.Connection.Id));
        broadcast.RunUntilIdle();
        listener.Join(Name);
        // The write of the first message is pending while the group receives more bytes than the backlog limit.
        for (var i = 10; i < 110; i++)
        {
            Publish(broadcast, i, $"{i % 5}", size: 100);
            broadcast.RunUntilIdle();
        }

        broadcast.RunUntilWritten(() => [listener.Sink]);

        Assert.Equal([100, .. RecoveryHelpers.Range(5, 9)], listener.Got.Take(6));
        Assert.Equal(RecoveryHelpers.Range(105, 109), listener.Got.TakeLast(5));
        listener.AssertNoViolation();
        Assert.Null(listener.Connection.Writer.ClosingStatus);
    }

    [Fact]
    public void RetainedMessages_AllMembersHaveRead_KeepNoBlockOfLog()
    {
        using var broadcast = Start();
        var log = PublishAndJoin(broadcast);

        GC.Collect();
        Assert.False(log.TryGetTarget(out _), "The retained values keep a block of the log.");
        var later = new Listener(broadcast);
        later.Join(Name);
        broadcast.RunUntilIdle();
        later.AssertGot(1, 2);
    }

    /// <summary>
    /// Tests that a member receives the newest message of each key and then every later message. The retained values
    /// are large, so members may share an older copy.
    /// </summary>
    [Fact]
    public void Join_LargeRetainedMessages_ReceivesSnapshotThenEveryLaterMessage()
    {
        var shared = 0;
        Gen.Select(Gen.Int[0, 30], Gen.Int[100, 6_000], Gen.Int[0, 9]).Array[1, 200].Sample(
            steps =>
            {
                using var broadcast = Start(new() { MaxRetainedBytes = 1 << 26 }, maxBacklog: 64 << 20);
                var published = new List<(string Key, int Size)>();
                var members = new List<(Listener Listener, int JoinedAfter)>();
                foreach (var (key, size, kind) in steps)
                {
                    if (kind == 0 && members.Count < 20)
                    {
                        var listener = new Listener(broadcast);
                        listener.Join(Name);
                        members.Add((listener, published.Count));
                    }
                    else
                    {
                        Publish(broadcast, published.Count, $"{key}", size: size);
                        published.Add(($"{key}", size));
                    }

                    if (kind == 1) broadcast.RunUntilIdle();
                }

                broadcast.RunUntilIdle();
                foreach (var (listener, joinedAfter) in members)
                {
                    listener.AssertNoViolation();
                    var start = Enumerable.Range(0, joinedAfter + 1).Reverse()
                        .FirstOrDefault(start => Expected(published, start).SequenceEqual(listener.Got), -1);
                    Assert.True(start >= 0, "The messages are not a snapshot followed by every later message.");
                    if (start == joinedAfter) continue;
                    Interlocked.Increment(ref shared);
                    var (snapshot, later) = (Retained(published, start).Sum(Cost), Enumerable.Range(start, joinedAfter - start).Sum(Cost));
                    Assert.True(later <= snapshot / 8, $"The snapshot of {snapshot} bytes was {later} bytes old.");

                    int Cost(int id) => published[id].Size + 4 + Block.EntrySize;
                }
            },
            iter: 100 * Effort.Factor);
        Assert.True(shared > 0, "The random steps do not reach all cases: no member shared an older snapshot.");

        static IEnumerable<int> Expected(List<(string Key, int Size)> published, int start) =>
            Retained(published, start).Concat(Enumerable.Range(start, published.Count - start));

        static IEnumerable<int> Retained(List<(string Key, int Size)> published, int end) =>
            Enumerable.Range(0, end).GroupBy(id => published[id].Key).Select(ids => ids.Max()).Order();
    }

    [MethodImpl(MethodImplOptions.NoInlining)]
    static WeakReference<Block> PublishAndJoin(TestEngine broadcast)
    {
        var listener = new Listener(broadcast);
        listener.Join(Name);
        Publish(broadcast, 1, "a");
        Publish(broadcast, 2, "b");
        var another = new Listener(broadcast);
        var block = StartOf(broadcast, another).Next!;
        broadcast.RunUntilIdle();
        listener.AssertGot(1, 2);
        another.AssertGot(1, 2);
        // The heartbeat ends the block of an idle log, and the readers move to the next block.
        broadcast.Time.Advance(TimeSpan.FromMinutes(1));
        broadcast.RunUntilIdle();
        return new(block);
    }

    /// <summary>Joins the group and returns the block of the first message.</summary>
    static Block StartOf(TestEngine broadcast, Listener listener)
    {
        var cursor = broadcast.Groups.Find(Name)!.Join(listener.Connection.Writer, new(default, null, default, false), out _, out _);
        return cursor!.Block;
    }

    static TestEngine Start(GroupOptions? group = null, int maxBacklog = 1 << 20) => new(maxBacklog: maxBacklog, configure: options =>
    {
        group ??= new();
        group.RetainLatestPerKey = true;
        options.Groups[Name + "*"] = group;
        (options.KeepAliveInterval, options.SendTimeout) = (Timeout.InfiniteTimeSpan, Timeout.InfiniteTimeSpan);
    });

    static PublishResult Publish(TestEngine broadcast, int id, string? key, bool removes = false, int size = 4) =>
        broadcast.Publish(new(Payload.Make(id, size), MessageType.Binary) { Key = key, RemoveKey = removes }, Recipients.Group(Name));
}
