namespace Broadcast.Middleware.Tests.Publishing;

/// <summary>
/// Tests publishing to several groups, on one thread. The random schedules of ScheduleTests also publish to several
/// groups.
/// </summary>
public sealed class SeveralGroupsTests
{
    [Fact]
    public void SharedMessage_NotYetInAllLogs_IsNotDelivered()
    {
        var clock = new SequenceClock();
        using var broadcast = new TestEngine();
        var listener = new Listener(broadcast);
        var (one, other) = (TestLog.Create(clock, 1_024), TestLog.Create(clock, 1_024));
        var reader = new LogReader(clock);
        foreach (var log in new[] { one, other })
        {
            reader.Add(new Cursor(log, listener.Connection.Writer, new GroupShard(broadcast.Pumps[0].Pump)));
        }

        Message message = new(Payload.Make(1, 4), MessageType.Binary);
        one.Append(message, null);
        var commit = new CommitToken();
        var shared = EntryMetadata.WithCommit(null, commit);
        var sequence = clock.Next();
        lock (one.Gate) one.AppendLocked(message, shared, sequence);
        // A run of earlier messages must not contain the uncommitted message.
        Assert.True(reader.TryTake(long.MaxValue, out var before));
        Assert.Equal(1, before.Messages);
        Assert.False(reader.TryTake(long.MaxValue, out _));
        lock (other.Gate) other.AppendLocked(message, shared, sequence);
        Assert.False(reader.TryTake(long.MaxValue, out _));
        commit.Commit();
        Assert.True(reader.TryTake(long.MaxValue, out var run));
        Assert.Equal(1, run.Messages);
        Assert.False(reader.TryTake(long.MaxValue, out _));
    }

    [Fact]
    public void Join_SeveralGroupsWithHistory_MergesReplays()
    {
        using var broadcast = new TestEngine(configure: RecoveryHelpers.History("/h*"));
        foreach (var id in RecoveryHelpers.Range(1, 60)) broadcast.Publish(Recipients.Groups((id % 3) switch { 0 => ["/h1"], 1 => ["/h2"], _ => ["/h2", "/h1"] }), id);
        var listener = new Listener(broadcast);
        listener.Join("/h2", Replay.Last(1_000));
        listener.Join("/h1", Replay.Last(1_000));
        broadcast.Publish(Recipients.Groups("/h1", "/h2"), 61);
        broadcast.RunUntilIdle();
        Assert.Equal(RecoveryHelpers.Range(1, 61), listener.Got);
    }

    [Fact]
    public void PublishToSeveralGroups_RepeatedUnknownOrNoNames_IsAccepted()
    {
        using var broadcast = new TestEngine(configure: RecoveryHelpers.History("/h"));
        var listener = new Listener(broadcast, "/home");
        listener.Join("/a");
        Assert.Equal(new PublishResult(null, 1), broadcast.Publish(Recipients.Groups("/a", "/nobody", "/a"), 1));
        Assert.Equal(default, broadcast.Publish(Recipients.Groups("/nobody"), 2));
        Assert.Equal(default, broadcast.Publish(Recipients.Groups(), 3));
        // The message has no recipient, but the history keeps it.
        Assert.Equal(default, broadcast.Publish(Recipients.Groups("/nobody", "/h"), 4));
        listener.Join("/h", Replay.Last(1));
        broadcast.RunUntilIdle();
        Assert.Equal([1, 4], listener.Got);
    }

    [Fact]
    public void Leave_OneOfTwoGroups_StillDeliversThroughTheOtherGroup()
    {
        using var broadcast = new TestEngine();
        var listener = new Listener(broadcast, "/home") { Sink = { Mode = WriteMode.Later } };
        listener.Join("/a");
        listener.Join("/b");
        broadcast.Publish(Recipients.Groups("/a", "/b"), 1);
        broadcast.RunUntilIdle();
        foreach (var id in RecoveryHelpers.Range(2, 4)) broadcast.Publish(Recipients.Groups("/a", "/b"), id);
        listener.Leave("/a");
        foreach (var id in RecoveryHelpers.Range(5, 7)) broadcast.Publish(Recipients.Groups("/a", "/b"), id);
        listener.Leave("/b");
        listener.Join("/a");
        broadcast.Publish(Recipients.Groups("/a", "/b"), 8);
        listener.Leave("/a");
        broadcast.Publish(Recipients.Groups("/a", "/b"), 9);
        listener.Sink.Mode = WriteMode.AtOnce;
        listener.Sink.CompleteWrite();
        broadcast.RunUntilIdle();
        Assert.Equal(RecoveryHelpers.Range(1, 8), listener.Got);
    }

    [Theory]
    [InlineData(SlowConsumer.Conflate)]
    [InlineData(SlowConsumer.SkipToLatest)]
    public void SlowMember_SkippingInOneGroup_GetsSharedMessagesThroughOtherGroupOnce(SlowConsumer whenSlow)
    {
        using var broadcast = new TestEngine(maxBacklog: 1 << 16, configure: options => options.Groups["/p*"] = new() { SlowConsumer = whenSlow });
        var listener = new Listener(broadcast) { Sink = { Mode = WriteMode.Later } };
        listener.Join("/prices");
        listener.Join("/chat");
        var id = 0;
        for (var round = 0; round < 5; round++)
        {
            for (var i = 0; i < 2_000; i++)
            {
                // Only a few messages go to the group whose messages the server must not skip.
                var recipients = i % 50 == 0 ? Recipients.Groups("/prices", "/chat") : Recipients.Group("/prices");
                broadcast.Publish(new(Payload.Make(++id, 100), MessageType.Binary) { Key = "k" }, recipients);
                broadcast.RunUntilIdle();
            }

            listener.Sink.CompleteWrite();
            broadcast.RunUntilIdle();
        }

        listener.Sink.Mode = WriteMode.AtOnce;
        listener.Sink.CompleteWrite();
        broadcast.RunUntilIdle();
        Assert.Null(listener.Sink.Closed);
        Assert.Equal(listener.Got.Order().Distinct(), listener.Got);
        Assert.Empty(RecoveryHelpers.Range(1, id).Where(number => (number - 1) % 50 == 0).Except(listener.Got));
        Assert.Contains(id, listener.Got);
        Assert.InRange(listener.Got.Count, 200, id - 1_000);
    }
}
