using CsCheck;

namespace Broadcast.Middleware.Tests.Delivery;

/// <summary>Tests random schedules of all operations on one thread against a model.</summary>
[Collection(nameof(NotParallelCollection))]
public sealed class ScheduleTests
{
    static readonly Gen<int> _sizes = Gen.Frequency(
        (2, Gen.Const(0)),
        (10, Gen.Int[0, 40]),
        (4, Gen.Int[100, 700]),
        (1, Gen.Int[125, 127]),
        (1, Gen.Int[65_530, 65_540]),
        (1, Gen.Int[500, 200_000]));

    internal static readonly Gen<Operation<Step>[]> Schedules = Schedule.Create(
        250,
        (9, 63, 31),
        _sizes,
        (16, Step.Publish),
        (12, Step.PublishToSeveral),
        (6, Step.PublishToAll),
        (3, Step.PublishToUser),
        (6, Step.Send),
        (8, Step.Join),
        (7, Step.Leave),
        (5, Step.Connect),
        (1, Step.Remove),
        (2, Step.Open),
        (14, Step.CompleteWrite),
        (1, Step.FailWrite),
        (5, Step.SetMode),
        (18, Step.RunTurn),
        (2, Step.Beat),
        (1, Step.Close));

    [Fact]
    public void Publish_RandomSchedule_DeliversOnceAndInOrder()
    {
        var (retained, shared, refused, replaced) = (0, 0, 0, 0);
        Gen.Select(Gen.Int[1, 3], Schedules).Sample(
            (pumps, schedule) =>
            {
                using var model = new ScheduleModel(pumps, maxBacklog: 64 << 20);
                model.Run(schedule);
                Assert.Equal(0, model.SlowConsumers);
                Interlocked.Add(ref retained, model.RetainedOnJoin);
                Interlocked.Add(ref shared, model.SharedCopies);
                Interlocked.Add(ref refused, model.Refused);
                Interlocked.Add(ref replaced, model.ReplacedFilters);
            },
            iter: 800 * Effort.Factor);
        Assert.True(
            retained > 0 && shared > 0 && refused > 0 && replaced > 0,
            $"The random schedules do not reach all cases: {(retained, shared, refused, replaced)}.");
    }

    [Fact]
    public void SlowConsumer_RandomSchedule_ReceivesFirstMessagesThenCloseFrame()
    {
        var slow = 0;
        Gen.Select(Gen.Int[1, 3], Gen.Int[1_024, 100_000], Schedules).Sample(
            (pumps, maxBacklog, schedule) =>
            {
                using var model = new ScheduleModel(pumps, maxBacklog);
                model.Run(schedule);
                Interlocked.Add(ref slow, model.SlowConsumers);
            },
            iter: 800 * Effort.Factor);
        Assert.True(slow > 0, "The random schedules do not reach all cases: no consumer was slow.");
    }
}
