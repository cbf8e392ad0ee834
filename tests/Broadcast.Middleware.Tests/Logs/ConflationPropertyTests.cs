using CsCheck;

namespace Broadcast.Middleware.Tests.Logs;

/// <summary>
/// Tests random sequences of steps: publish, read, catch up and leave. Compares the received messages with a model.
/// </summary>
public sealed class ConflationPropertyTests
{
    const int Plenty = 1 << 30;

    enum Step { Publish, Take, Special, Leave }

    /// <summary>Selects which messages are for the reader.</summary>
    public enum Audience { All, Filtered, SomeExcluded }

    // Most steps publish a message. One message in six has no key.
    static readonly Gen<(Step Kind, int Log, string? Key, int Size)[]> Steps = Gen.Select(
        Gen.Frequency((12, Gen.Const(Step.Publish)), (3, Gen.Const(Step.Take)), (2, Gen.Const(Step.Special))),
        Gen.Int[0, 1],
        Gen.Int[0, 5].Select(key => key == 0 ? null : $"key {key}"),
        Gen.Int[4, 300]).Array[0, 300];

    [Fact]
    public void Reader_WithoutSkipOrCompact_GetsEveryMessage() => Steps.Sample(
        steps =>
        {
            var model = Run(steps, static _ => { });
            model.AssertGotAll();
            Assert.Equal(0, model.LeftOut);
        },
        iter: 300);

    [Fact]
    public void Compact_RandomSteps_LosesOnlyReplacedMessages() =>
        Steps.Sample(steps => Run(steps, static model => Assert.True(model.TryCompact(-1, Plenty))).AssertConflated(), iter: 1_000);

    [Fact]
    public void Skip_RandomSteps_CountsDropsAndKeepsOrder() => Steps.Sample(
        steps => Run(steps, static model => model.Skip(-1), SlowConsumer.SkipToLatest).AssertCounted(), iter: 1_000);

    [Fact]
    public void Leave_RandomSteps_DeliversEarlierMessages() => Gen.Select(Steps, Gen.Int[0, 300]).Sample(
        (steps, at) =>
        {
            (Step, int, string?, int)[] withLeave = [.. steps.Take(at), (Step.Leave, 1, null, 0), .. steps.Skip(at)];
            Run(withLeave, static _ => { }).AssertGotAll();
        },
        iter: 500);

    [Theory]
    [InlineData(Audience.All)]
    [InlineData(Audience.Filtered)]
    [InlineData(Audience.SomeExcluded)]
    public void Skip_LogDroppedUnreadMessages_KeepsNewest(Audience audience) => Steps.Sample(
        steps =>
        {
            const int Capacity = 2_000;
            var filter = audience == Audience.Filtered ? Filter : null;
            var model = new LogModel(logs: 2, Capacity, SlowConsumer.SkipToLatest, filter);
            foreach (var (kind, log, key, size) in steps)
            {
                if (kind == Step.Publish) Publish(model, log, key, size, audience);
                else if (kind == Step.Special) model.TrimIdle(log);
                else if (!model.Take() && model.Reader.HasMissed) model.Skip(Capacity);
            }

            for (model.TakeAll(); model.Reader.HasMissed; model.TakeAll()) model.Skip(Capacity);
            model.AssertGotNewest(Capacity);
            // The count includes all messages that the log dropped, even if they were not for this reader.
            if (audience == Audience.All) model.AssertCounted();
        },
        iter: 1_000);

    [Fact]
    public void Filter_RandomSteps_DeliversExactlyAcceptedMessages() => Gen.Select(Steps, Gen.Int[0, 300]).Sample(
        (steps, at) =>
        {
            (Step, int, string?, int)[] withLeave = [.. steps.Take(at), (Step.Leave, 1, null, 0), .. steps.Skip(at)];
            Run(withLeave, static _ => { }, isFiltered: true).AssertGotAll();
        },
        iter: 500);

    [Fact]
    public void Filter_BacklogCompacted_DeliversExactlyAcceptedMessages() => Steps.Sample(
        steps => Run(steps, static model => model.CompactAccepted(), SlowConsumer.Disconnect, isFiltered: true).AssertGotAll(), iter: 500);

    [Fact]
    public void Filter_Conflated_LosesOnlyReplacedMessages() => Steps.Sample(
        steps => Run(steps, static model => Assert.True(model.TryCompact(-1, Plenty)), isFiltered: true).AssertConflated(), iter: 500);

    [Fact]
    public void Filter_SkipToLatest_KeepsNewestAcceptedMessage() => Steps.Sample(
        steps =>
        {
            var model = Run(steps, static model => model.Skip(-1), SlowConsumer.SkipToLatest, isFiltered: true);
            model.AssertCounted();
            model.AssertGotNewest();
        },
        iter: 500);

    static readonly SubscriptionFilter Filter = SubscriptionFilter.Parse("kind in (a, c)");

    static LogModel Run(
        (Step Kind, int Log, string? Key, int Size)[] steps, Action<LogModel> special, SlowConsumer whenSlow = SlowConsumer.Conflate, bool isFiltered = false)
    {
        var model = new LogModel(logs: 2, capacity: Plenty, whenSlow, isFiltered ? Filter : null);
        foreach (var (kind, log, key, size) in steps)
        {
            switch (kind)
            {
                case Step.Publish:
                    Publish(model, log, key, size, isFiltered ? Audience.Filtered : Audience.All);
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

    static void Publish(LogModel model, int log, string? key, int size, Audience audience)
    {
        // One message in five has no tags.
        var tags = audience != Audience.Filtered || size % 5 == 4
            ? null
            : MessageTags.Create(("size", $"{size}"), ("kind", $"{"abcd"[size % 5]}"));
        model.Publish(log, key, size, isForReader: audience == Audience.All || size % 5 is 0 or 2, tags);
    }
}
