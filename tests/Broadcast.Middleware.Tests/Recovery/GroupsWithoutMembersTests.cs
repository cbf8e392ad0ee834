using Broadcast.Middleware.Tests.Properties;

namespace Broadcast.Middleware.Tests.Recovery;

/// <summary>Empty groups that keep a history.</summary>
[Collection(PropertiesCollection.Name)]
public sealed class GroupsWithoutMembersTests
{
    [Fact]
    public void Publish_ToEmptyGroupWithHistory_IsKeptForLaterMembers()
    {
        using var stage = new Stage(configure: Act.History("/rooms/*"));
        Assert.Equal(1, stage.Publish("/rooms/a", 1).Position?.Offset);
        var position = stage.Publish("/rooms/a", 2).Position!.Value;
        Assert.Equal(2, position.Offset);
        Assert.Equal(default, stage.Publish("/others/a", 3));
        Assert.Equal(1, stage.Broadcaster.Groups.Count);

        var hearer = new Hearer(stage);
        Assert.Equal(new JoinResult(true, true, position with { Offset = 1 }), hearer.Join("/rooms/a", Replay.After(position with { Offset = 1 })));
        Assert.Equal(position with { Offset = 3 }, stage.Publish("/rooms/a", 4).Position);
        stage.RunUntilIdle();
        Assert.Equal([2, 4], hearer.Got);
    }

    [Fact]
    public void EmptyGroup_AllHistoryExpired_IsRemovedAndGetsNewEpoch()
    {
        using var stage = new Stage(configure: Act.History("/g", age: TimeSpan.FromMinutes(1)));
        var old = stage.Publish("/g", 1).Position!.Value;
        stage.Time.Advance(TimeSpan.FromMinutes(1));
        Assert.Equal(1, stage.Broadcaster.Groups.Count);
        stage.Time.Advance(TimeSpan.FromSeconds(10));
        Assert.Equal(0, stage.Broadcaster.Groups.Count);

        var young = stage.Publish("/g", 2).Position!.Value;
        Assert.Equal(1, young.Offset);
        Assert.NotEqual(old.Epoch, young.Epoch);
        var hearer = new Hearer(stage);
        Assert.False(hearer.Join("/g", Replay.After(old)).Recovered);

        // A group with a member stays.
        stage.Time.Advance(TimeSpan.FromMinutes(10));
        Assert.Equal(young with { Offset = 2 }, stage.Publish("/g", 3).Position);
        hearer.Leave("/g");
        stage.Time.Advance(TimeSpan.FromMinutes(10));
        Assert.Null(stage.Broadcaster.Groups.Find("/g"));
    }

    [Fact]
    public void EmptyGroup_WithoutMessages_IsRemovedAtNextHeartbeat()
    {
        using var stage = new Stage(configure: Act.History("/*"));
        var hearer = new Hearer(stage, "/home");
        hearer.Join("/g");
        hearer.Go();
        stage.RunUntilIdle();
        stage.Time.Advance(TimeSpan.FromSeconds(10));
        Assert.Equal(0, stage.Broadcaster.Groups.Count);
    }

    [Fact]
    public void EmptyGroups_OverLimit_EvictsLongestEmptyFirst()
    {
        using var stage = new Stage(configure: Act.History("/g*", withoutMembers: 3));
        var hearer = new Hearer(stage);
        var epochs = new Dictionary<int, ulong>();
        foreach (var i in Act.Range(1, 4))
        {
            hearer.Join($"/g{i}");
            epochs[i] = stage.Publish($"/g{i}", i).Position!.Value.Epoch;
        }

        // The groups become empty in another order than they were created.
        foreach (var i in new[] { 3, 1, 4 }) hearer.Leave($"/g{i}");
        Assert.Equal([1, 2, 3, 4], Alive());
        hearer.Leave("/g2");
        Assert.Equal([1, 2, 4], Alive());
        // A group that gets a member and becomes empty again counts as the newest.
        hearer.Join("/g1");
        hearer.Leave("/g1");
        stage.Publish("/g5", 5);
        Assert.Equal([1, 2], Alive());
        Assert.NotNull(stage.Broadcaster.Groups.Find("/g5"));

        int[] Alive() => [.. epochs.Keys.Where(i => stage.Broadcaster.Groups.Find($"/g{i}") is not null)];
    }

    [Fact]
    public void GroupWithMembers_OverLimit_IsNeverEvicted()
    {
        using var stage = new Stage(configure: Act.History("/g*", withoutMembers: 2));
        var hearer = new Hearer(stage);
        hearer.Join("/g-live");
        var position = stage.Publish("/g-live", 1).Position!.Value;
        foreach (var i in Act.Range(1, 100)) stage.Publish($"/g{i}", i);
        Assert.Equal(position with { Offset = 2 }, stage.Publish("/g-live", 2).Position);
        Assert.Equal(3 + 2, stage.Broadcaster.Groups.Count);
        stage.RunUntilIdle();
        Assert.Equal([1, 2], hearer.Got);
    }

    [Fact]
    public void EmptyGroup_RepeatedJoinAndLeave_EvictsNoOtherGroup()
    {
        using var stage = new Stage(configure: Act.History("/g*", withoutMembers: 3));
        var epochs = Act.Range(1, 3).Select(i => stage.Publish($"/g{i}", i).Position!.Value).ToArray();
        var hearer = new Hearer(stage);
        foreach (var id in Act.Range(4, 1_000))
        {
            hearer.Join("/g2");
            if (id % 2 == 0) stage.Publish("/g2", id);
            hearer.Leave("/g2");
            if (id % 3 == 0) stage.Publish("/g2", id);
            stage.RunUntilIdle();
        }

        Assert.Equal(epochs[0] with { Offset = 2 }, stage.Publish("/g1", 1).Position);
        Assert.Equal(epochs[2] with { Offset = 2 }, stage.Publish("/g3", 1).Position);
    }

    [Fact(Timeout = 30_000)]
    public async Task Publish_ToEmptyGroupWithLimitZero_CompletesAndKeepsNothing()
    {
        await Crowd.Start(() =>
        {
            using var stage = new Stage(configure: Act.History("/g*", withoutMembers: 0));
            Assert.Equal(1, stage.Publish("/g", 1).Position?.Offset);
            stage.Publish(Recipients.Groups("/g1", "/g2"), 2);
            Assert.Equal(0, stage.Broadcaster.Groups.Count);
            var hearer = new Hearer(stage);
            hearer.Join("/g", Replay.Last(10));
            stage.RunUntilIdle();
            Assert.Empty(hearer.Got);
        }).WaitAsync(TimeSpan.FromSeconds(20), TestContext.Current.CancellationToken);
    }

    [Fact(Timeout = 30_000)]
    public async Task Publish_ToMoreEmptyGroupsThanLimit_Completes()
    {
        await Crowd.Start(() =>
        {
            using var stage = new Stage(configure: Act.History("/g*", withoutMembers: 2));
            stage.Publish("/g0", 1);
            stage.Publish(Recipients.Groups([.. Act.Range(1, 10).Select(i => $"/g{i}")]), 2);
            Assert.Equal(2, stage.Broadcaster.Groups.Count);
        }).WaitAsync(TimeSpan.FromSeconds(20), TestContext.Current.CancellationToken);
    }

    [Fact]
    public async Task EmptyGroups_CreatedConcurrently_StayWithinLimit()
    {
        using var stage = new Stage(configure: Act.History("/g*", withoutMembers: 10));
        var rounds = 20_000 * Effort.Factor;
        var threads = Enumerable.Range(0, 4).Select(thread => Crowd.Start(() =>
        {
            for (var i = 0; i < rounds; i++) stage.Publish($"/g{thread}-{i}", i);
        }));
        await Task.WhenAll(threads).WaitAsync(TimeSpan.FromSeconds(60), TestContext.Current.CancellationToken);
        stage.Publish("/g", 1);
        Assert.Equal(10, stage.Broadcaster.Groups.Count);
    }

    [Theory]
    [InlineData(false)]
    [InlineData(true)]
    public void JoinAndLeave_AMillionTimes_LeaksNothing(bool hasHistory)
    {
        using var stage = new Stage(configure: options =>
        {
            if (hasHistory) Act.History("/g*", withoutMembers: 100)(options);
        });
        var hearers = Enumerable.Range(0, 8).Select(_ => new Hearer(stage)).ToArray();
        Churn(20_000);
        var before = Memory();
        Churn(480_000);
        Assert.InRange(Memory() - before, long.MinValue, 2 << 20);
        foreach (var hearer in hearers) Assert.Equal(["/home"], hearer.Connection.Groups);
        Assert.Equal(2, stage.Broadcaster.Groups.Count);
        foreach (var hearer in hearers) hearer.Go();
        stage.RunUntilIdle();
        Assert.Equal((0, 0), (stage.Broadcaster.Groups.Count, stage.Broadcaster.Connections.Count));

        void Churn(int count)
        {
            for (var i = 0; i < count; i++)
            {
                var (hearer, name) = (hearers[i % 8].Connection, $"/g{i % 5_000}");
                if (!hearer.Join(name).Joined || !hearer.Leave(name)) Assert.Fail("A join or a leave failed.");
                if (i % 1_000 == 0) stage.RunUntilIdle();
            }

            stage.RunUntilIdle();
            stage.Time.Advance(TimeSpan.FromSeconds(10));
        }

        static long Memory() => GC.GetTotalMemory(forceFullCollection: true);
    }
}
