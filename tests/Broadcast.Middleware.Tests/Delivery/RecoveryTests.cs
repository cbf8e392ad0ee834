using CsCheck;

namespace Broadcast.Middleware.Tests.Delivery;

/// <summary>
/// Tests joins at a position in the history of a group. The join replays all messages after the position or reports a failure.
/// </summary>
[Collection(nameof(NotParallelCollection))]
public sealed class RecoveryTests
{
    static readonly Gen<int> _sizes = Gen.Frequency(
        (10, Gen.Int[4, 40]),
        (3, Gen.Int[100, 700]),
        (1, Gen.Int[120, 130]),
        (1, Gen.Int[900, 1_100]),
        (3, Gen.Int[4_000, 70_000]));

    static readonly Gen<GroupOptions> _limits = Gen.Select(
        Gen.Frequency((1, Gen.Const(0)), (4, Gen.Int[1, 8]), (4, Gen.Int[9, 60]), (2, Gen.Const(10_000))),
        Gen.OneOf(Gen.Int[1_024, 4_000], Gen.Int[4_000, 200_000]),
        Gen.OneOf(Gen.Const(-1), Gen.Int[1_000, 20_000]),
        Gen.Int[0, 12],
        Gen.Bool,
        Gen.Int[1, 6],
        Gen.Frequency((3, Gen.Const(1 << 20)), (1, Gen.Int[1_024, 60_000])),
        (messages, bytes, age, replayOnJoin, retains, keys, retainedBytes) => new GroupOptions
        {
            HistoryMessages = messages, HistoryBytes = bytes, HistoryAge = TimeSpan.FromMilliseconds(age), ReplayOnJoin = replayOnJoin,
            RetainLatestPerKey = retains, MaxRetainedKeys = keys, MaxRetainedBytes = retainedBytes, RetainedAge = Timeout.InfiniteTimeSpan,
        });

    static readonly Gen<Operation<RecoveryStep>[]> _schedules = Schedule.Create(
        200,
        (999, 999, 0),
        _sizes,
        (30, RecoveryStep.Publish),
        (4, RecoveryStep.PublishToAll),
        (10, RecoveryStep.PublishTransient),
        (3, RecoveryStep.Send),
        (10, RecoveryStep.Connect),
        (8, RecoveryStep.Disconnect),
        (3, RecoveryStep.Leave),
        (8, RecoveryStep.CompleteWrite),
        (3, RecoveryStep.SetMode),
        (14, RecoveryStep.RunTurn),
        (6, RecoveryStep.Wait));

    [Fact]
    public void Reconnect_RandomSchedule_ReceivesExactlyMissedMessagesOrReportsFailure()
    {
        var (recovered, lost, future, otherEpochs, transient) = (0, 0, 0, 0, 0);
        var (retained, shared, refusedKeys, refusedBytes, replaced) = (0, 0, 0, 0, 0);
        Gen.Select(_limits, _schedules).Sample(
            (limits, schedule) =>
            {
                using var model = new RecoveryModel(limits);
                model.Run(schedule);
                Interlocked.Add(ref recovered, model.Recovered);
                Interlocked.Add(ref lost, model.Trimmed);
                Interlocked.Add(ref future, model.FromFuture);
                Interlocked.Add(ref otherEpochs, model.FromOtherEpoch);
                Interlocked.Add(ref transient, model.Transient);
                Interlocked.Add(ref retained, model.Retained);
                Interlocked.Add(ref shared, model.SharedCopies);
                Interlocked.Add(ref refusedKeys, model.RefusedKeys);
                Interlocked.Add(ref refusedBytes, model.RefusedBytes);
                Interlocked.Add(ref replaced, model.ReplacedFilters);
            },
            // In 600 schedules, about 15 have members that share an older copy of the retained values. With 300 schedules and
            // fewer large messages, a run sometimes had none.
            iter: 600 * Effort.Factor);
        int[] cases = [recovered, lost, future, otherEpochs, transient, retained, shared, refusedKeys, refusedBytes, replaced];
        Assert.True(cases.All(static count => count > 0), $"The random schedules do not reach all cases: {string.Join(", ", cases)}.");
    }

    [Theory]
    [InlineData(3, 1 << 20, 100)]
    [InlineData(1_000, 1_024, 100)]
    public void Recovery_LimitedHistory_SucceedsUpToOldestKeptMessage(int messages, int bytes, int size)
    {
        using var broadcast = new TestEngine(configure: RecoveryHelpers.History("/g", messages, bytes));
        var kept = Math.Min(messages, bytes / (size + 2 + Block.EntrySize));
        var position = RecoveryHelpers.Range(1, 20).Select(id => broadcast.Publish("/g", id, size).Position!.Value).ToArray()[^1];
        for (var offset = 0; offset <= 20; offset++)
        {
            var listener = new Listener(broadcast);
            var result = listener.Join("/g", Replay.After(position with { Offset = offset }));
            broadcast.RunUntilIdle();
            Assert.Equal(offset >= 20 - kept, result.Recovered);
            Assert.Equal(result.Recovered is true ? RecoveryHelpers.Range(offset + 1, 20) : [], listener.Got);
            Assert.Equal(position with { Offset = result.Recovered is true ? offset : 20 }, result.Position);
            listener.Disconnect();
        }
    }

    /// <summary>With a <see cref="double"/>, 11,665 ms times 10 MHz is less than 116,650,000 ticks.</summary>
    [Theory]
    [InlineData(60_000)]
    [InlineData(11_665)]
    public void History_MessageOlderThanHistoryAge_IsDropped(int milliseconds)
    {
        var age = TimeSpan.FromMilliseconds(milliseconds);
        using var broadcast = new TestEngine(configure: RecoveryHelpers.History("/g", age: age));
        var anchor = new Listener(broadcast, "/g");
        var first = broadcast.Publish("/g", 1).Position!.Value;
        broadcast.Time.Advance(TimeSpan.FromSeconds(1));
        broadcast.Publish("/g", 2);
        broadcast.Time.Advance(age - TimeSpan.FromSeconds(1));
        Assert.True(Recovers(0));
        broadcast.Time.Advance(TimeSpan.FromTicks(1));
        Assert.False(Recovers(0));
        Assert.True(Recovers(1));
        broadcast.Time.Advance(TimeSpan.FromSeconds(1));
        Assert.False(Recovers(1));
        // A client that has received all messages recovers, even if the history is empty.
        Assert.True(Recovers(2));
        Assert.False(Recovers(3));
        anchor.Disconnect();

        bool? Recovers(long offset)
        {
            var listener = new Listener(broadcast);
            var recovered = listener.Join("/g", Replay.After(first with { Offset = offset })).Recovered;
            listener.Disconnect();
            return recovered;
        }
    }

    [Fact]
    public void Recovery_MessageExpiresDuringJoin_LosesNoMessage()
    {
        // The clock advances at each read. With one of the tested delays, the oldest message expires between two reads of the clock.
        for (var delay = 0; delay < 100; delay++)
        {
            var time = new AdvancingTime();
            var history = new LogHistory(new() { HistoryMessages = 100, HistoryAge = TimeSpan.FromTicks(50) }, time);
            var log = new MessageLog(new SequenceClock(), new LogSettings(1 << 20, SlowConsumer.Disconnect), history) { Epoch = 1 };
            for (var id = 1; id <= 10; id++) log.Append(new(Payload.Make(id, 4), MessageType.Binary), null);
            for (var i = 0; i < delay; i++) time.GetTimestamp();
            var (block, index) = log.Find(Replay.After(new(1, 0)), out var recovered);
            if (recovered is true) Assert.Equal(1, block.FirstOffset + index);
        }
    }

    [Fact]
    public void Join_EachReplay_SendsRequestedPartOfHistory()
    {
        using var broadcast = new TestEngine(configure: RecoveryHelpers.History("/g", messages: 5, replayOnJoin: 3));
        foreach (var id in RecoveryHelpers.Range(1, 10)) broadcast.Publish("/g", id);
        Assert.Equal([8, 9, 10], Receives(default));
        Assert.Equal([], Receives(Replay.None));
        Assert.Equal([], Receives(Replay.Last(0)));
        Assert.Equal([10], Receives(Replay.Last(1)));
        Assert.Equal([6, 7, 8, 9, 10], Receives(Replay.Last(5)));
        Assert.Equal([6, 7, 8, 9, 10], Receives(Replay.Last(6)));
        Assert.Equal([6, 7, 8, 9, 10], Receives(Replay.Last(int.MaxValue)));
        Assert.Equal([8, 9, 10], Receives(Replay.After(new(0, long.MaxValue))));
        Assert.Equal([8, 9, 10], Receives(Replay.After(new(0, long.MinValue))));
        Assert.Throws<ArgumentOutOfRangeException>("messages", () => Replay.Last(-1));

        List<int> Receives(Replay replay)
        {
            var listener = new Listener(broadcast);
            Assert.True(listener.Join("/g", replay).Joined);
            broadcast.RunUntilIdle();
            listener.AssertNoViolation();
            listener.Disconnect();
            return listener.Got;
        }
    }

    [Fact]
    public void Recovery_WithoutHistory_SucceedsOnlyWithoutMissedMessages()
    {
        using var broadcast = new TestEngine();
        var stays = new Listener(broadcast, "/g");
        var position = RecoveryHelpers.Range(1, 3).Select(id => broadcast.Publish("/g", id).Position!.Value).ToArray()[^1];
        foreach (var (offset, recovered) in new[] { (3, true), (2, false), (0, false), (4, false) })
        {
            var listener = new Listener(broadcast);
            Assert.Equal(recovered, listener.Join("/g", Replay.After(position with { Offset = offset })).Recovered);
            Assert.Null(listener.Join("/x", Replay.Last(5)).Recovered);
            broadcast.RunUntilIdle();
            Assert.Empty(listener.Got);
            listener.Disconnect();
        }

        Assert.Equal(3, stays.Got.Count);
    }

    [Fact]
    public void Recovery_InvalidPosition_JoinsWithoutRecovery()
    {
        using var broadcast = new TestEngine(configure: RecoveryHelpers.History("/g"));
        var position = broadcast.Publish("/g", 1).Position!.Value;
        Position[] wrong =
        [
            default, position with { Epoch = ~position.Epoch }, position with { Offset = -1 }, position with { Offset = 2 },
            position with { Offset = long.MaxValue }, position with { Offset = long.MinValue },
        ];
        foreach (var after in wrong)
        {
            var listener = new Listener(broadcast);
            Assert.Equal(new JoinResult(true, false, position), listener.Join("/g", Replay.After(after)));
            broadcast.RunUntilIdle();
            Assert.Empty(listener.Got);
        }
    }

    /// <summary>A clock that advances by one tick at each read.</summary>
    sealed class AdvancingTime : TimeProvider
    {
        long _now;

        public override long TimestampFrequency => TimeSpan.TicksPerSecond;

        public override long GetTimestamp() => ++_now;
    }
}
