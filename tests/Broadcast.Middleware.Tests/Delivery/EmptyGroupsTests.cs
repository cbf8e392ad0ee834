
namespace Broadcast.Middleware.Tests.Delivery;

/// <summary>Tests empty groups: the history that they keep, and their removal.</summary>
[Collection(nameof(NotParallelCollection))]
public sealed class EmptyGroupsTests
{
    [Fact]
    public void Message_PublishedToEmptyGroupWithHistory_IsKeptForLaterMembers()
    {
        using var broadcast = new TestEngine(configure: RecoveryHelpers.History("/rooms/*"));
        Assert.Equal(1, broadcast.Publish("/rooms/a", 1).Position?.Offset);
        var position = broadcast.Publish("/rooms/a", 2).Position!.Value;
        Assert.Equal(2, position.Offset);
        Assert.Equal(default, broadcast.Publish("/others/a", 3));
        Assert.Equal(1, broadcast.Groups.Count);

        var listener = new Listener(broadcast);
        Assert.Equal(new JoinResult(true, true, position with { Offset = 1 }), listener.Join("/rooms/a", Replay.After(position with { Offset = 1 })));
        Assert.Equal(position with { Offset = 3 }, broadcast.Publish("/rooms/a", 4).Position);
        broadcast.RunUntilIdle();
        Assert.Equal([2, 4], listener.Got);
    }

    [Fact]
    public void EmptyGroup_AllHistoryExpired_IsRemovedAndGetsNewEpoch()
    {
        using var broadcast = new TestEngine(configure: RecoveryHelpers.History("/g", age: TimeSpan.FromMinutes(1)));
        var old = broadcast.Publish("/g", 1).Position!.Value;
        broadcast.Time.Advance(TimeSpan.FromMinutes(1));
        Assert.Equal(1, broadcast.Groups.Count);
        broadcast.Time.Advance(TimeSpan.FromSeconds(10));
        Assert.Equal(0, broadcast.Groups.Count);

        var young = broadcast.Publish("/g", 2).Position!.Value;
        Assert.Equal(1, young.Offset);
        Assert.NotEqual(old.Epoch, young.Epoch);
        var listener = new Listener(broadcast);
        Assert.False(listener.Join("/g", Replay.After(old)).Recovered);

        // The server never removes a group with a member.
        broadcast.Time.Advance(TimeSpan.FromMinutes(10));
        Assert.Equal(young with { Offset = 2 }, broadcast.Publish("/g", 3).Position);
        listener.Leave("/g");
        broadcast.Time.Advance(TimeSpan.FromMinutes(10));
        Assert.Null(broadcast.Groups.Find("/g"));
    }

    [Fact]
    public void EmptyGroup_WithoutMessages_IsRemovedAtNextHeartbeat()
    {
        using var broadcast = new TestEngine(configure: RecoveryHelpers.History("/*"));
        var listener = new Listener(broadcast, "/home");
        listener.Join("/g");
        listener.Disconnect();
        broadcast.RunUntilIdle();
        broadcast.Time.Advance(TimeSpan.FromSeconds(10));
        Assert.Equal(0, broadcast.Groups.Count);
    }

    [Fact]
    public void EmptyGroups_OverLimit_EvictsLongestEmptyFirst()
    {
        using var broadcast = new TestEngine(configure: RecoveryHelpers.History("/g*", maxEmptyGroups: 3));
        var listener = new Listener(broadcast);
        var epochs = new Dictionary<int, ulong>();
        foreach (var i in RecoveryHelpers.Range(1, 4))
        {
            listener.Join($"/g{i}");
            epochs[i] = broadcast.Publish($"/g{i}", i).Position!.Value.Epoch;
        }

        // The order in which the groups become empty differs from the order of their creation.
        foreach (var i in new[] { 3, 1, 4 }) listener.Leave($"/g{i}");
        Assert.Equal([1, 2, 3, 4], Alive());
        listener.Leave("/g2");
        Assert.Equal([1, 2, 4], Alive());
        // When a group gets a member and becomes empty again, the server evicts this group last.
        listener.Join("/g1");
        listener.Leave("/g1");
        broadcast.Publish("/g5", 5);
        Assert.Equal([1, 2], Alive());
        Assert.NotNull(broadcast.Groups.Find("/g5"));

        int[] Alive() => [.. epochs.Keys.Where(i => broadcast.Groups.Find($"/g{i}") is not null)];
    }

    [Fact]
    public void GroupWithMembers_OverLimit_IsNeverEvicted()
    {
        using var broadcast = new TestEngine(configure: RecoveryHelpers.History("/g*", maxEmptyGroups: 2));
        var listener = new Listener(broadcast);
        listener.Join("/g-live");
        var position = broadcast.Publish("/g-live", 1).Position!.Value;
        foreach (var i in RecoveryHelpers.Range(1, 100)) broadcast.Publish($"/g{i}", i);
        Assert.Equal(position with { Offset = 2 }, broadcast.Publish("/g-live", 2).Position);
        Assert.Equal(3 + 2, broadcast.Groups.Count);
        broadcast.RunUntilIdle();
        Assert.Equal([1, 2], listener.Got);
    }

    [Fact]
    public void EmptyGroup_RepeatedJoinAndLeave_EvictsNoOtherGroup()
    {
        using var broadcast = new TestEngine(configure: RecoveryHelpers.History("/g*", maxEmptyGroups: 3));
        var epochs = RecoveryHelpers.Range(1, 3).Select(i => broadcast.Publish($"/g{i}", i).Position!.Value).ToArray();
        var listener = new Listener(broadcast);
        foreach (var id in RecoveryHelpers.Range(4, 1_000))
        {
            listener.Join("/g2");
            if (id % 2 == 0) broadcast.Publish("/g2", id);
            listener.Leave("/g2");
            if (id % 3 == 0) broadcast.Publish("/g2", id);
            broadcast.RunUntilIdle();
        }

        Assert.Equal(epochs[0] with { Offset = 2 }, broadcast.Publish("/g1", 1).Position);
        Assert.Equal(epochs[2] with { Offset = 2 }, broadcast.Publish("/g3", 1).Position);
    }

    [Fact]
    public void Join_RefusedByRegistry_KeepsNoGroupAndEvictsNoGroup()
    {
        var registry = new FaultyRegistry();
        using var broadcast = new TestEngine(registry: registry, configure: RecoveryHelpers.History("/g*", maxEmptyGroups: 1));
        var listener = new Listener(broadcast);
        var position = broadcast.Publish("/g1", 1).Position!.Value;
        var groups = broadcast.Groups.Count;
        registry.OnJoin = static (_, group) => group != "/g2";

        for (var i = 0; i < 3; i++) Assert.False(listener.Join("/g2").Joined);

        Assert.Null(broadcast.Groups.Find("/g2"));
        Assert.Equal(groups, broadcast.Groups.Count);
        Assert.Equal(position with { Offset = 2 }, broadcast.Publish("/g1", 2).Position);
        listener.Join("/g1", Replay.Last(2));
        broadcast.RunUntilIdle();
        Assert.Equal([1, 2], listener.Got);
    }

    /// <summary>Tests a race of two joins. The refused join removes the group that the other join has already found.</summary>
    [Theory]
    [InlineData(true)]
    [InlineData(false)]
    public void Join_RefusedJoinRemovesGroup_JoinsNewGroup(bool hasHistory)
    {
        var registry = new FaultyRegistry();
        using var broadcast = new TestEngine(registry: registry, configure: RecoveryHelpers.History(hasHistory ? "/g*" : "/h*"));
        var (admitted, refused) = (new Listener(broadcast), new Listener(broadcast));
        var refusals = 0;
        registry.OnJoin = (connection, _) =>
        {
            if (connection == refused.Connection) return false;
            if (refusals++ == 0) Assert.False(refused.Join("/g").Joined);
            return true;
        };

        Assert.True(admitted.Join("/g").Joined);

        // The join found a removed group, so it asked the registry a second time.
        Assert.Equal(2, refusals);
        Assert.Equal(1, broadcast.Publish("/g", 1).LocalRecipients);
        Assert.Equal(1, registry.CountGroupMembers("/g"));
        broadcast.RunUntilIdle();
        Assert.Equal([1], admitted.Got);
        admitted.AssertNoViolation();
    }

    [Fact]
    public void Join_RefusedAfterMemberLeft_KeepsEpoch()
    {
        var registry = new FaultyRegistry();
        using var broadcast = new TestEngine(registry: registry, configure: RecoveryHelpers.History("/g*"));
        var listener = new Listener(broadcast);
        var position = listener.Join("/g").Position!.Value;
        listener.Leave("/g");
        registry.OnJoin = static (_, _) => false;
        Assert.False(listener.Join("/g").Joined);
        registry.OnJoin = static (_, _) => true;

        // The group has no message, but a client may know the position of the group. So the epoch must stay the same.
        Assert.Equal((true, position), (listener.Join("/g", Replay.After(position)) is var joined ? joined.Recovered : null, joined.Position!.Value));
    }

    [Fact]
    public void Publish_RefusedByNewGroup_LeavesNoGroup()
    {
        using var broadcast = new TestEngine(configure: static options =>
        {
            options.Groups["/g*"] = new() { RetainLatestPerKey = true, MaxRetainedKeys = 1, MaxRetainedBytes = 1_000 };
            options.Groups["/h*"] = new() { HistoryMessages = 10 };
        });
        var large = new Message(new byte[2_000], MessageType.Binary) { Key = "a" };
        Assert.Throws<InvalidOperationException>(() => broadcast.Publish(large, Recipients.Group("/g1")));
        Assert.Throws<InvalidOperationException>(() => broadcast.Publish(large, Recipients.Groups("/g1", "/g2", "/h1")));
        Assert.Equal(0, broadcast.Groups.Count);
        // The groups do not exist, so they store no message.
        Assert.Equal(default, broadcast.Publish("/g1", 1));

        // A group with a retained value stays.
        var small = large with { Payload = new byte[100] };
        var position = broadcast.Publish(small, Recipients.Group("/g1")).Position!.Value;
        Assert.Throws<InvalidOperationException>(() => broadcast.Publish(large, Recipients.Groups("/g1", "/g2")));
        Assert.Equal(position with { Offset = 2 }, broadcast.Publish("/g1", 2).Position);
        Assert.Equal(1, broadcast.Groups.Count);
    }

    [Fact]
    public void Publish_RefusedAfterMemberLeft_KeepsEpoch()
    {
        using var broadcast = new TestEngine(configure: static options =>
            options.Groups["/g*"] = new() { RetainLatestPerKey = true, MaxRetainedBytes = 1_000 });
        var listener = new Listener(broadcast);
        var position = listener.Join("/g").Position!.Value;
        listener.Leave("/g");
        var large = new Message(new byte[2_000], MessageType.Binary) { Key = "a" };
        Assert.Throws<InvalidOperationException>(() => broadcast.Publish(large, Recipients.Group("/g")));
        Assert.Equal(position, listener.Join("/g").Position);
    }

    [Fact(Timeout = 30_000)]
    public async Task Publish_MaxEmptyGroupsIsZero_CompletesAndKeepsNoMessage()
    {
        await TestThread.Start(() =>
        {
            using var broadcast = new TestEngine(configure: RecoveryHelpers.History("/g*", maxEmptyGroups: 0));
            Assert.Equal(1, broadcast.Publish("/g", 1).Position?.Offset);
            broadcast.Publish(Recipients.Groups("/g1", "/g2"), 2);
            Assert.Equal(0, broadcast.Groups.Count);
            var listener = new Listener(broadcast);
            listener.Join("/g", Replay.Last(10));
            broadcast.RunUntilIdle();
            Assert.Empty(listener.Got);
        }).WaitAsync(Eventually.Patience, TestContext.Current.CancellationToken);
    }

    [Fact(Timeout = 30_000)]
    public async Task Publish_ToMoreEmptyGroupsThanLimit_KeepsMaxEmptyGroups()
    {
        await TestThread.Start(() =>
        {
            using var broadcast = new TestEngine(configure: RecoveryHelpers.History("/g*", maxEmptyGroups: 2));
            broadcast.Publish("/g0", 1);
            broadcast.Publish(Recipients.Groups([.. RecoveryHelpers.Range(1, 10).Select(i => $"/g{i}")]), 2);
            Assert.Equal(2, broadcast.Groups.Count);
        }).WaitAsync(Eventually.Patience, TestContext.Current.CancellationToken);
    }

    [Fact]
    public async Task EmptyGroups_CreatedConcurrently_StayWithinLimit()
    {
        using var broadcast = new TestEngine(configure: RecoveryHelpers.History("/g*", maxEmptyGroups: 10));
        var rounds = 20_000 * Effort.Factor;
        var threads = Enumerable.Range(0, 4).Select(thread => TestThread.Start(() =>
        {
            for (var i = 0; i < rounds; i++) broadcast.Publish($"/g{thread}-{i}", i);
        }));
        await Task.WhenAll(threads).WaitAsync(TimeSpan.FromSeconds(60), TestContext.Current.CancellationToken);
        broadcast.Publish("/g", 1);
        Assert.Equal(10, broadcast.Groups.Count);
    }

    [Theory]
    [InlineData(false)]
    [InlineData(true)]
    public void JoinAndLeave_ManyTimes_LeaksNoMemory(bool hasHistory)
    {
        using var broadcast = new TestEngine(configure: options =>
        {
            if (hasHistory) RecoveryHelpers.History("/g*", maxEmptyGroups: 100)(options);
        });
        var listeners = Enumerable.Range(0, 8).Select(_ => new Listener(broadcast)).ToArray();
        Churn(20_000);
        var before = Memory();
        Churn(180_000);
        Assert.InRange(Memory() - before, long.MinValue, 2 << 20);
        foreach (var listener in listeners) Assert.Equal(["/home"], listener.Connection.Groups);
        Assert.Equal(2, broadcast.Groups.Count);
        foreach (var listener in listeners) listener.Disconnect();
        broadcast.RunUntilIdle();
        Assert.Equal((0, 0), (broadcast.Groups.Count, broadcast.Connections.Count));

        void Churn(int count)
        {
            for (var i = 0; i < count; i++)
            {
                var (listener, name) = (listeners[i % 8].Connection, $"/g{i % 5_000}");
                if (!listener.Join(name).Joined || !listener.Leave(name)) Assert.Fail("A join or a leave failed.");
                if (i % 1_000 == 0) broadcast.RunUntilIdle();
            }

            broadcast.RunUntilIdle();
            broadcast.Time.Advance(TimeSpan.FromSeconds(10));
        }

        static long Memory() => GC.GetTotalMemory(forceFullCollection: true);
    }
}
