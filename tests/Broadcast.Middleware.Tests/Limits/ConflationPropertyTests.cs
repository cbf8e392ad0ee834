using CsCheck;

namespace Broadcast.Middleware.Tests.Limits;

/// <summary>Any sequence of publishing, reading, lagging and leaving, against a model.</summary>
public sealed class ConflationPropertyTests
{
    const int Plenty = 1 << 30;

    enum Step { Publish, Take, Special, Leave }

    // Mostly messages, of which one in six has no key; few readers leave.
    static readonly Gen<(Step Kind, int Log, string? Key, int Size)[]> Steps = Gen.Select(
        Gen.Frequency((12, Gen.Const(Step.Publish)), (3, Gen.Const(Step.Take)), (2, Gen.Const(Step.Special))),
        Gen.Int[0, 1],
        Gen.Int[0, 5].Select(key => key == 0 ? null : $"key {key}"),
        Gen.Int[4, 300]).Array[0, 300];

    [Fact]
    public void A_reader_that_never_lags_gets_everything() => Steps.Sample(
        steps =>
        {
            var model = Run(steps, static _ => { });
            model.AssertGotAll();
            Assert.Equal(0, model.LeftOut);
        },
        iter: 300);

    [Fact]
    public void A_reader_that_is_given_a_block_of_its_own_gets_what_has_no_key_and_the_newest_of_each_key() =>
        Steps.Sample(steps => Run(steps, static model => Assert.True(model.TryCompact(-1, Plenty))).AssertConflated(), iter: 1_000);

    [Fact]
    public void What_a_reader_skips_is_counted_and_the_rest_comes_in_order() => Steps.Sample(
        steps => Run(steps, static model => model.Skip(-1), SlowConsumer.SkipToLatest).AssertCounted(), iter: 1_000);

    [Fact]
    public void A_reader_that_leaves_one_of_its_logs_gets_what_was_published_before() => Gen.Select(Steps, Gen.Int[0, 300]).Sample(
        (steps, at) =>
        {
            (Step, int, string?, int)[] withLeave = [.. steps.Take(at), (Step.Leave, 1, null, 0), .. steps.Skip(at)];
            Run(withLeave, static _ => { }).AssertGotAll();
        },
        iter: 500);

    [Fact]
    public void A_reader_whose_log_was_cut_under_it_skips_and_what_it_missed_is_counted() => Steps.Sample(
        steps =>
        {
            var model = new LogModel(logs: 2, capacity: 2_000, SlowConsumer.SkipToLatest);
            foreach (var (kind, log, key, size) in steps)
            {
                if (kind == Step.Publish) model.Publish(log, key, size);
                else if (kind == Step.Take && !model.Take() && model.Reader.HasMissed) model.Skip(2_000);
            }

            for (model.TakeAll(); model.Reader.HasMissed; model.TakeAll()) model.Skip(2_000);
            model.AssertCounted();
        },
        iter: 1_000);

    static LogModel Run((Step Kind, int Log, string? Key, int Size)[] steps, Action<LogModel> special, SlowConsumer whenSlow = SlowConsumer.Conflate)
    {
        var model = new LogModel(logs: 2, capacity: Plenty, whenSlow);
        foreach (var (kind, log, key, size) in steps)
        {
            switch (kind)
            {
                case Step.Publish:
                    model.Publish(log, key, size);
                    break;
                case Step.Take:
                    model.Take();
                    break;
                case Step.Leave:
                    model.Leave(log);
                    break;
                default:
                    special(model);
                    break;
            }
        }

        model.TakeAll();
        return model;
    }
}
