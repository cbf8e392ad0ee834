using System.Runtime.CompilerServices;

namespace Broadcast.Middleware.Tests.Delivery;

/// <summary>
/// Tests messages with <see cref="Message.IsTransient"/>: the server delivers them in order, but does not store them.
/// </summary>
public sealed class TransientTests
{
    const string Name = "/g";

    [Fact]
    public void TransientMessage_BetweenStoredMessages_ArrivesInOrderWithoutPosition()
    {
        using var broadcast = new TestEngine(configure: RecoveryHelpers.History(Name));
        var listener = Join(broadcast);
        var first = broadcast.Publish(Name, 1).Position!.Value;
        Assert.Equal(new PublishResult(null, 1), PublishTransient(broadcast, 2));
        Assert.Equal(first with { Offset = 2 }, broadcast.Publish(Name, 3).Position);
        PublishTransient(broadcast, 4);
        PublishTransient(broadcast, 5);
        Assert.Equal(first with { Offset = 3 }, broadcast.Publish(Name, 6).Position);
        broadcast.RunUntilIdle();
        listener.AssertGot(1, 2, 3, 4, 5, 6);
    }

    [Fact]
    public void Join_AfterTransientMessages_ReplaysOnlyTheHistory()
    {
        using var broadcast = new TestEngine(configure: RecoveryHelpers.History(Name, messages: 3, replayOnJoin: 10));
        Join(broadcast);
        foreach (var id in RecoveryHelpers.Range(1, 4)) broadcast.Publish(Name, id);
        // Transient messages must not remove messages from the history.
        foreach (var id in RecoveryHelpers.Range(100, 10_000)) PublishTransient(broadcast, id);
        var late = Join(broadcast);
        PublishTransient(broadcast, 5);
        broadcast.RunUntilIdle();
        late.AssertGot(2, 3, 4, 5);
    }

    [Fact]
    public void Recovery_AfterTransientMessage_SucceedsWithoutTransientMessage()
    {
        using var broadcast = new TestEngine(configure: RecoveryHelpers.History(Name));
        var listener = Join(broadcast);
        broadcast.Publish(Name, 1);
        var position = broadcast.Publish(Name, 2).Position!.Value;
        PublishTransient(broadcast, 3);
        broadcast.RunUntilIdle();
        listener.AssertGot(1, 2, 3);
        listener.Disconnect();

        var again = new Listener(broadcast);
        Assert.Equal(new JoinResult(true, true, position), again.Join(Name, Replay.After(position)));
        Join(broadcast);
        PublishTransient(broadcast, 4);
        again.Disconnect();
        var last = new Listener(broadcast);
        Assert.True(last.Join(Name, Replay.After(position)).Recovered);
        broadcast.Publish(Name, 5);
        broadcast.RunUntilIdle();
        last.AssertGot(5);
    }

    [Fact]
    public void Recovery_GroupWithoutHistory_SucceedsAfterTransientMessage()
    {
        using var broadcast = new TestEngine();
        Join(broadcast);
        var position = broadcast.Publish(Name, 1).Position!.Value;
        PublishTransient(broadcast, 2);
        var late = new Listener(broadcast);
        Assert.True(late.Join(Name, Replay.After(position)).Recovered);
    }

    [Fact]
    public void Publish_TransientToEmptyGroup_CreatesNoLog()
    {
        using var broadcast = new TestEngine(configure: RecoveryHelpers.History(Name));
        Assert.Equal(default, PublishTransient(broadcast, 1));
        Assert.Equal(0, broadcast.Groups.Count);
        broadcast.Publish(Name, 2);
        Assert.Equal(new PublishResult(null, 0), PublishTransient(broadcast, 3));
        Assert.Equal(1, broadcast.Groups.Count);
        Assert.False(broadcast.Clock.HasTransientLogs);
    }

    /// <summary>
    /// A member whose write is pending must also receive the first transient message in the right order.
    /// </summary>
    [Fact]
    public void FirstTransientMessage_MemberHasPendingWrite_AllMessagesArriveInOrder()
    {
        using var broadcast = new TestEngine();
        var listener = Join(broadcast);
        listener.Sink.Mode = WriteMode.Later;
        broadcast.Publish(Name, 1);
        broadcast.RunUntilIdle();
        foreach (var id in RecoveryHelpers.Range(2, 500))
        {
            if (id % 2 == 0) PublishTransient(broadcast, id);
            else broadcast.Publish(Name, id, 200);
        }

        listener.Sink.Mode = WriteMode.AtOnce;
        broadcast.RunUntilWritten(() => [listener.Sink]);
        listener.AssertGot([.. RecoveryHelpers.Range(1, 500)]);
    }

    [Fact]
    public void Leave_BeforeMemberReadsFirstTransientMessage_DeliversEarlierMessagesOnly()
    {
        using var broadcast = new TestEngine();
        Join(broadcast);
        var leaving = Join(broadcast);
        PublishTransient(broadcast, 1);
        broadcast.Publish(Name, 2);
        leaving.Leave(Name);
        PublishTransient(broadcast, 3);
        broadcast.Publish(Name, 4);
        broadcast.RunUntilIdle();
        leaving.AssertGot(1, 2);
        Assert.True(leaving.Join(Name).Joined);
        PublishTransient(broadcast, 5);
        broadcast.RunUntilIdle();
        leaving.AssertGot(1, 2, 5);
    }

    [Fact]
    public void Publish_TransientAndStoredToSeveralGroups_ReachEachMemberOnceInOrder()
    {
        using var broadcast = new TestEngine();
        var both = Join(broadcast);
        both.Join("/h");
        var one = Join(broadcast);
        foreach (var id in RecoveryHelpers.Range(1, 30))
        {
            var message = new Message(Payload.Make(id, 4), MessageType.Binary) { IsTransient = id % 3 != 0 };
            Assert.Equal(new PublishResult(null, 3), broadcast.Publish(message, Recipients.Groups(Name, "/h")));
        }

        broadcast.RunUntilIdle();
        both.AssertGot([.. RecoveryHelpers.Range(1, 30)]);
        one.AssertGot([.. RecoveryHelpers.Range(1, 30)]);
    }

    [Fact]
    public void Connection_InManyGroups_ReceivesTransientMessagesOfEachGroup()
    {
        using var broadcast = new TestEngine();
        var listener = new Listener(broadcast);
        foreach (var i in RecoveryHelpers.Range(1, 50)) listener.Join($"/{i}");
        broadcast.RunUntilIdle();
        var expected = new List<int>();
        for (var round = 0; round < 3; round++)
        {
            foreach (var i in RecoveryHelpers.Range(1, 50))
            {
                PublishTransient(broadcast, (round * 100) + i, $"/{i}");
                expected.Add((round * 100) + i);
                // Between these messages, the reader deactivates the cursors of idle logs.
                if (i % 7 == 0) broadcast.RunUntilIdle();
            }
        }

        broadcast.RunUntilIdle();
        listener.AssertGot([.. expected]);
        foreach (var i in RecoveryHelpers.Range(1, 50)) listener.Leave($"/{i}");
        broadcast.RunUntilIdle();
        broadcast.Beat();
        broadcast.RunUntilIdle();
        // Only the cursors in the group of all connections and in the home group remain.
        Assert.Equal(2, ReaderOf(listener.Connection.Writer).Cursors.Length);
    }

    [Fact]
    public void PublishTransient_ToSlowMember_ClosesMemberAtBacklogLimit()
    {
        using var broadcast = new TestEngine(maxBacklog: 10_000);
        var slow = Join(broadcast);
        var fast = Join(broadcast);
        slow.Sink.Mode = WriteMode.Later;
        broadcast.Publish(Name, 1);
        broadcast.RunUntilIdle();
        foreach (var id in RecoveryHelpers.Range(2, 100))
        {
            PublishTransient(broadcast, id, size: 1_000);
            broadcast.RunUntilIdle();
        }

        Assert.Equal(EndReason.SlowConsumer, slow.Connection.EndReason);
        fast.AssertGot([.. RecoveryHelpers.Range(1, 100)]);
    }

    /// <summary>A member that never reads must not keep all transient messages in memory.</summary>
    [Fact]
    public void PublishTransient_StalledMember_KeepsBoundedMemory()
    {
        using var broadcast = new TestEngine(maxBacklog: 100_000, configure: static options => options.SendTimeout = Timeout.InfiniteTimeSpan);
        var stalled = Join(broadcast);
        stalled.Sink.Mode = WriteMode.Later;
        broadcast.Publish(Name, 1);
        broadcast.RunUntilIdle();
        PublishTransient(broadcast, 2);
        // Do not run the pump, so that the member does not open its cursor.
        var first = PublishTracked(broadcast);
        for (var i = 0; i < 100; i++) PublishTransient(broadcast, 3, size: 60_000);
        GC.Collect();
        Assert.False(first.IsAlive);
    }

    [MethodImpl(MethodImplOptions.NoInlining)]
    static WeakReference PublishTracked(TestEngine broadcast)
    {
        for (var i = 0; i < 3; i++) PublishTransient(broadcast, 3, size: 60_000);
        return new(broadcast.Groups.Find(Name)!.TransientLog!.End.Block);
    }

    [Fact]
    public void Trim_IdleTransientLog_ReleasesBlocks()
    {
        using var broadcast = new TestEngine();
        var listener = Join(broadcast);
        var block = PublishAndTrack(broadcast);
        for (var i = 0; i < 3; i++)
        {
            broadcast.Beat();
            broadcast.RunUntilIdle();
        }

        GC.Collect();
        Assert.False(block.IsAlive);
        PublishTransient(broadcast, 8);
        broadcast.RunUntilIdle();
        listener.AssertGot(7, 8);
    }

    [MethodImpl(MethodImplOptions.NoInlining)]
    static WeakReference PublishAndTrack(TestEngine broadcast)
    {
        PublishTransient(broadcast, 7, size: 60_000);
        broadcast.RunUntilIdle();
        return new(broadcast.Groups.Find(Name)!.TransientLog!.End.Block);
    }

    static Listener Join(TestEngine broadcast)
    {
        var listener = new Listener(broadcast);
        Assert.True(listener.Join(Name).Joined);
        return listener;
    }

    static PublishResult PublishTransient(TestEngine broadcast, int id, string group = Name, int size = 4) =>
        broadcast.Publish(new Message(Payload.Make(id, size), MessageType.Binary) { IsTransient = true }, Recipients.Group(group));

    [UnsafeAccessor(UnsafeAccessorKind.Field, Name = "_reader")]
    static extern ref LogReader ReaderOf(ConnectionWriter writer);
}
