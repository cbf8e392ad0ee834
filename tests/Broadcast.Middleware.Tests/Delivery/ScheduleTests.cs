using CsCheck;

namespace Broadcast.Middleware.Tests.Delivery;

/// <summary>Random schedules of all operations on one thread, checked against a model.</summary>
[Collection(PropertiesCollection.Name)]
public sealed class ScheduleTests
{
    static readonly Gen<Step> _steps = Gen.Frequency(
        (24, Gen.Const(Step.Publish)),
        (6, Gen.Const(Step.PublishToAll)),
        (6, Gen.Const(Step.Send)),
        (8, Gen.Const(Step.Join)),
        (7, Gen.Const(Step.Leave)),
        (5, Gen.Const(Step.Connect)),
        (1, Gen.Const(Step.Remove)),
        (2, Gen.Const(Step.Open)),
        (14, Gen.Const(Step.CompleteWrite)),
        (1, Gen.Const(Step.FailWrite)),
        (5, Gen.Const(Step.SetMode)),
        (18, Gen.Const(Step.RunTurn)),
        (2, Gen.Const(Step.Beat)),
        (1, Gen.Const(Step.Close)));

    static readonly Gen<int> _sizes = Gen.Frequency(
        (2, Gen.Const(0)),
        (10, Gen.Int[0, 40]),
        (4, Gen.Int[100, 700]),
        (1, Gen.Int[125, 127]),
        (1, Gen.Int[65_530, 65_540]),
        (1, Gen.Int[500, 200_000]));

    internal static readonly Gen<Operation[]> Schedules =
        Gen.Select(_steps, Gen.Int[0, 5], Gen.Int[0, 11], Gen.Int[0, 31], _sizes, (step, a, b, c, size) => new Operation(step, a, b, c, size))
            .Array[10, 250];

    [Fact]
    public void Publish_RandomSchedule_DeliversOnceAndInOrder() =>
        Gen.Select(Gen.Int[1, 3], Schedules).Sample(
            (pumps, schedule) =>
            {
                using var model = new ScheduleModel(pumps, maxBacklog: 64 << 20);
                model.Run(schedule);
                Assert.Equal(0, model.SlowConsumers);
            },
            iter: 800 * Effort.Factor);

    [Fact]
    public void SlowConsumer_RandomSchedule_GetsPrefixAndCloseFrame()
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
        Assert.True(slow > 0, "The random schedules are too easy: no consumer was slow.");
    }
}
