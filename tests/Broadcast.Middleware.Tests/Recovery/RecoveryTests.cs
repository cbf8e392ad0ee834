using Broadcast.Middleware.Tests.Properties;
using CsCheck;

namespace Broadcast.Middleware.Tests.Recovery;

/// <summary>
/// Joins a group at a position in its history. The join replays everything after it or reports a failure.
/// </summary>
[Collection(PropertiesCollection.Name)]
public sealed class RecoveryTests
{
    static readonly Gen<RecoveryStep> _steps = Gen.Frequency(
        (30, Gen.Const(RecoveryStep.Publish)),
        (4, Gen.Const(RecoveryStep.PublishToAll)),
        (3, Gen.Const(RecoveryStep.Send)),
        (10, Gen.Const(RecoveryStep.Come)),
        (8, Gen.Const(RecoveryStep.Go)),
        (3, Gen.Const(RecoveryStep.Leave)),
        (8, Gen.Const(RecoveryStep.CompleteWrite)),
        (3, Gen.Const(RecoveryStep.SetMode)),
        (14, Gen.Const(RecoveryStep.RunTurn)),
        (6, Gen.Const(RecoveryStep.Wait)));

    static readonly Gen<int> _sizes = Gen.Frequency(
        (10, Gen.Int[4, 40]),
        (3, Gen.Int[100, 700]),
        (1, Gen.Int[120, 130]),
        (1, Gen.Int[900, 1_100]),
        (1, Gen.Int[4_000, 70_000]));

    static readonly Gen<GroupOptions> _limits = Gen.Select(
        Gen.Frequency((1, Gen.Const(0)), (4, Gen.Int[1, 8]), (4, Gen.Int[9, 60]), (2, Gen.Const(10_000))),
        Gen.OneOf(Gen.Int[1_024, 4_000], Gen.Int[4_000, 200_000]),
        Gen.OneOf(Gen.Const(-1), Gen.Int[1_000, 20_000]),
        Gen.Int[0, 12],
        (messages, bytes, age, replayOnJoin) => new GroupOptions
        {
            HistoryMessages = messages, HistoryBytes = bytes, HistoryAge = TimeSpan.FromMilliseconds(age), ReplayOnJoin = replayOnJoin,
        });

    static readonly Gen<RecoveryOperation[]> _schedules =
        Gen.Select(_steps, Gen.Int[0, 999], Gen.Int[0, 999], _sizes, (step, a, b, size) => new RecoveryOperation(step, a, b, size)).Array[10, 200];

    [Fact]
    public void Reconnect_RandomSchedule_GetsExactlyMissedMessagesOrIsNotified()
    {
        var (recovered, lost, future, otherEpochs) = (0, 0, 0, 0);
        Gen.Select(_limits, _schedules).Sample(
            (limits, schedule) =>
            {
                using var model = new RecoveryModel(limits);
                model.Run(schedule);
                Interlocked.Add(ref recovered, model.Recovered);
                Interlocked.Add(ref lost, model.Trimmed);
                Interlocked.Add(ref future, model.OfTheFuture);
                Interlocked.Add(ref otherEpochs, model.OfAnotherEpoch);
            },
            iter: 700 * Effort.Factor);
        Assert.True(recovered > 0 && lost > 0 && future > 0 && otherEpochs > 0, $"The random schedules are too easy: {(recovered, lost, future, otherEpochs)}.");
    }

    [Theory]
    [InlineData(3, 1 << 20, 100)]
    [InlineData(1_000, 1_024, 100)]
    public void Recovery_LimitedHistory_SucceedsUpToOldestKeptMessage(int messages, int bytes, int size)
    {
        using var stage = new Stage(configure: Act.History("/g", messages, bytes));
        var kept = Math.Min(messages, bytes / (size + 2 + Block.EntrySize));
        var position = Act.Range(1, 20).Select(id => stage.Publish("/g", id, size).Position!.Value).ToArray()[^1];
        for (var offset = 0; offset <= 20; offset++)
        {
            var hearer = new Hearer(stage);
            var result = hearer.Join("/g", Replay.After(position with { Offset = offset }));
            stage.RunUntilIdle();
            Assert.Equal(offset >= 20 - kept, result.Recovered);
            Assert.Equal(result.Recovered is true ? Act.Range(offset + 1, 20) : [], hearer.Got);
            Assert.Equal(position with { Offset = result.Recovered is true ? offset : 20 }, result.Position);
            hearer.Go();
        }
    }

    [Fact]
    public void History_MessageOlderThanHistoryAge_IsDropped()
    {
        using var stage = new Stage(configure: Act.History("/g", age: TimeSpan.FromSeconds(60)));
        var anchor = new Hearer(stage, "/g");
        var first = stage.Publish("/g", 1).Position!.Value;
        stage.Time.Advance(TimeSpan.FromSeconds(1));
        stage.Publish("/g", 2);
        stage.Time.Advance(TimeSpan.FromSeconds(59));
        Assert.True(Recovers(0));
        stage.Time.Advance(TimeSpan.FromTicks(1));
        Assert.False(Recovers(0));
        Assert.True(Recovers(1));
        stage.Time.Advance(TimeSpan.FromSeconds(1));
        Assert.False(Recovers(1));
        // A client that has all messages recovers, even when the history is empty.
        Assert.True(Recovers(2));
        Assert.False(Recovers(3));
        anchor.Go();

        bool? Recovers(long offset)
        {
            var hearer = new Hearer(stage);
            var recovered = hearer.Join("/g", Replay.After(first with { Offset = offset })).Recovered;
            hearer.Go();
            return recovered;
        }
    }

    [Fact]
    public void Recovery_MessageExpiresDuringJoin_LosesNothing()
    {
        // The clock advances at each read. With one of these delays, the oldest message expires between two reads.
        for (var delay = 0; delay < 100; delay++)
        {
            var time = new RestlessTime();
            var history = new History(new() { HistoryMessages = 100, HistoryAge = TimeSpan.FromTicks(50) }, time);
            var log = new MessageLog(new SequenceClock(), new LogSettings(1 << 20, SlowConsumer.Disconnect), history) { Epoch = 1 };
            for (var id = 1; id <= 10; id++) log.Append(new(Payload.Make(id, 4), MessageType.Binary), null);
            for (var i = 0; i < delay; i++) time.GetTimestamp();
            var (block, index) = log.Find(Replay.After(new(1, 0)), out var recovered);
            if (recovered is true) Assert.Equal(1, block.FirstOffset + index);
        }
    }

    [Fact]
    public void Join_WithoutReplay_UsesReplayOnJoinOfGroup()
    {
        using var stage = new Stage(configure: Act.History("/g", messages: 5, replayOnJoin: 3));
        foreach (var id in Act.Range(1, 10)) stage.Publish("/g", id);
        Assert.Equal([8, 9, 10], Hears(default));
        Assert.Equal([], Hears(Replay.None));
        Assert.Equal([], Hears(Replay.Last(0)));
        Assert.Equal([10], Hears(Replay.Last(1)));
        Assert.Equal([6, 7, 8, 9, 10], Hears(Replay.Last(5)));
        Assert.Equal([6, 7, 8, 9, 10], Hears(Replay.Last(6)));
        Assert.Equal([6, 7, 8, 9, 10], Hears(Replay.Last(int.MaxValue)));
        Assert.Equal([8, 9, 10], Hears(Replay.After(new(0, long.MaxValue))));
        Assert.Equal([8, 9, 10], Hears(Replay.After(new(0, long.MinValue))));
        Assert.Throws<ArgumentOutOfRangeException>("messages", () => Replay.Last(-1));

        List<int> Hears(Replay replay)
        {
            var hearer = new Hearer(stage);
            Assert.True(hearer.Join("/g", replay).Joined);
            stage.RunUntilIdle();
            hearer.AssertSound();
            hearer.Go();
            return hearer.Got;
        }
    }

    [Fact]
    public void Recovery_WithoutHistory_SucceedsOnlyWhenNothingWasMissed()
    {
        using var stage = new Stage();
        var stays = new Hearer(stage, "/g");
        var position = Act.Range(1, 3).Select(id => stage.Publish("/g", id).Position!.Value).ToArray()[^1];
        foreach (var (offset, recovered) in new[] { (3, true), (2, false), (0, false), (4, false) })
        {
            var hearer = new Hearer(stage);
            Assert.Equal(recovered, hearer.Join("/g", Replay.After(position with { Offset = offset })).Recovered);
            Assert.Null(hearer.Join("/x", Replay.Last(5)).Recovered);
            stage.RunUntilIdle();
            Assert.Empty(hearer.Got);
            hearer.Go();
        }

        Assert.Equal(3, stays.Got.Count);
    }

    [Fact]
    public void Recovery_ExtremeOffsetsAndEpochs_IsRefused()
    {
        using var stage = new Stage(configure: Act.History("/g"));
        var position = stage.Publish("/g", 1).Position!.Value;
        Position[] wrong =
        [
            default, position with { Epoch = ~position.Epoch }, position with { Offset = -1 }, position with { Offset = 2 },
            position with { Offset = long.MaxValue }, position with { Offset = long.MinValue },
        ];
        foreach (var after in wrong)
        {
            var hearer = new Hearer(stage);
            Assert.Equal(new JoinResult(true, false, position), hearer.Join("/g", Replay.After(after)));
            stage.RunUntilIdle();
            Assert.Empty(hearer.Got);
        }
    }

    /// <summary>A clock that advances by one tick at each read.</summary>
    sealed class RestlessTime : TimeProvider
    {
        long _now;

        public override long TimestampFrequency => TimeSpan.TicksPerSecond;

        public override long GetTimestamp() => ++_now;
    }
}
