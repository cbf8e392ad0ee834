using CsCheck;

namespace Broadcast.Middleware.Tests.Connections;

/// <summary>Tests random schedules of clients that disconnect and reconnect. Each schedule runs on one thread.</summary>
[Collection(nameof(NotParallelCollection))]
public sealed class ReliableTests
{
    static readonly Gen<int> _sizes = Gen.Frequency((12, Gen.Int[0, 40]), (4, Gen.Int[100, 700]), (2, Gen.Int[1_000, 30_000]), (1, Gen.Int[65_000, 70_000]));

    static readonly Gen<Operation<ReliableStep>[]> _schedules = Schedule.Create(
        250,
        (5, 5, 31),
        _sizes,
        (20, ReliableStep.Publish),
        (5, ReliableStep.PublishToSeveral),
        (5, ReliableStep.PublishToAll),
        (8, ReliableStep.PublishTransient),
        (2, ReliableStep.SendTransient),
        (5, ReliableStep.Send),
        (2, ReliableStep.Answer),
        (8, ReliableStep.Join),
        (5, ReliableStep.Leave),
        (4, ReliableStep.Connect),
        (1, ReliableStep.End),
        (12, ReliableStep.Acknowledge),
        (8, ReliableStep.CompleteWrite),
        (3, ReliableStep.SetMode),
        (5, ReliableStep.Cut),
        (7, ReliableStep.Notice),
        (9, ReliableStep.Resume),
        (24, ReliableStep.RunTurn),
        (3, ReliableStep.Beat));

    [Fact]
    public void Reconnect_WithLargeLimits_DeliversEachMessageOnce()
    {
        var all = Sample(Gen.Const(ReliableLimits.None with { HasHistory = false }), 200, model => Assert.Equal(0, model.Refused + model.Slow));
        Assert.True(all is { Resumed: > 0, Dropped: > 0, Transient: > 0, MissedTransient: > 0 }, "The random schedules do not reach all cases.");
    }

    [Fact]
    public void Reconnect_AfterHistoryWithoutIds_NeedsLaterAcknowledgement()
    {
        var all = Sample(Gen.Const(ReliableLimits.None), 200, model =>
        {
            Assert.Equal(0, model.Slow);
            Assert.Equal(model.RefusedForHistory, model.Refused);
        });
        Assert.True(all is { Resumed: > 0, RefusedForHistory: > 0, WithoutId: > 0, RetainedOnJoin: > 0 }, "The random schedules do not reach all cases.");
    }

    /// <summary>Tests that the log keeps unacknowledged messages even if the backlog limit is small.</summary>
    [Fact]
    public void Reconnect_WithSmallBacklog_IsNeverRefused()
    {
        var limits = Gen.Int[1_024, 100_000].Select(backlog => ReliableLimits.None with { Backlog = backlog, WritesMayWait = false, HasHistory = false });
        var all = Sample(limits, 200, model => Assert.Equal(0, model.Refused + model.Slow));
        Assert.True(all.Resumed > 0, "The random schedules do not reach all cases.");
    }

    /// <summary>Tests that a client receives all messages or is refused, with any limits.</summary>
    [Fact]
    public void Reconnect_WithRandomLimits_DeliversAllMessagesOrIsRefused()
    {
        var limits = Gen.Select(Gen.Int[1_024, 100_000], Gen.Int[1_024, 200_000], Gen.Frequency((1, Gen.Int[1, 10]), (3, Gen.Const(1_000))), Gen.Long[1_024, 400_000], Gen.Bool, Gen.Bool,
            (backlog, unacknowledged, messages, total, wait, history) => new ReliableLimits(backlog, unacknowledged, messages, total, wait, history));
        // Of 300 schedules, about 5 have a slow client. With fewer schedules, the last assertion would fail by chance.
        var all = Sample(limits, 1_200);
        Assert.True(all is { Resumed: > 0, Refused: > 0, Slow: > 0 }, "The random schedules do not reach all cases.");
    }

    static Totals Sample(Gen<ReliableLimits> limits, int times, Action<ReliableModel>? check = null)
    {
        var totals = new Totals();
        Gen.Select(Gen.Int[1, 2], limits, _schedules).Sample(
            (pumps, limits, schedule) =>
            {
                using var model = new ReliableModel(pumps, limits);
                model.Run(schedule);
                check?.Invoke(model);
                lock (totals) totals.Add(model);
            },
            iter: times * Effort.Factor);
        TestContext.Current.TestOutputHelper?.WriteLine(totals.ToString());
        return totals;
    }

    sealed record Totals
    {
        public int Resumed { get; private set; }
        public int Refused { get; private set; }
        public int RefusedForHistory { get; private set; }
        public int Slow { get; private set; }
        public int Dropped { get; private set; }
        public int WithoutId { get; private set; }
        public int Transient { get; private set; }
        public int MissedTransient { get; private set; }
        public int RetainedOnJoin { get; private set; }

        public void Add(ReliableModel model)
        {
            Resumed += model.Resumed;
            Refused += model.Refused;
            RefusedForHistory += model.RefusedForHistory;
            Slow += model.Slow;
            Dropped += model.Dropped;
            WithoutId += model.WithoutId;
            Transient += model.Transient;
            MissedTransient += model.MissedTransient;
            RetainedOnJoin += model.RetainedOnJoin;
        }
    }
}
