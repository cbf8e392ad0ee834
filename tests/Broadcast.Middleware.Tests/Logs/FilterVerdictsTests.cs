using CsCheck;

namespace Broadcast.Middleware.Tests.Logs;

public sealed class FilterVerdictsTests
{
    // A block numbers 63 different tags, so some schedules have entries without a number.
    static readonly MessageTags?[] Tags = [null, .. Enumerable.Range(0, 99).Select(static i => MessageTags.Create(("value", $"{i}")))];

    /// <summary>Tests blocks whose entries are evaluated in several steps, as when readers alternate with publishers.</summary>
    [Fact]
    public void Complete_InSteps_EqualsDirectEvaluation() => Gen.Select(
        Gen.Int[1, Tags.Length].SelectMany(static different => Gen.Int[0, different - 1].Array[1, 400]),
        Gen.Int[0, 98].HashSet[1, 50].Select(static values => SubscriptionFilter.TagIn("value", values.Select(static value => $"{value}"))),
        Gen.Bool,
        Gen.Int[1, 90].Array[1, 20]).Sample(
        static (tags, accepting, isNegated, steps) =>
        {
            var filter = isNegated ? SubscriptionFilter.Not(accepting) : accepting;
            var block = CreateBlock(tags);
            var shared = block.VerdictsOf(filter)!;
            Assert.Same(shared, block.VerdictsOf(filter));
            AssertEqualsDirectEvaluation(shared, filter, block, tags, steps);

            // A second block must not see the results of the first block.
            var own = new FilterVerdicts(filter);
            AssertEqualsDirectEvaluation(own, filter, block, tags, steps);
            own.Reset();
            int[] reversed = [.. tags.Reverse()];
            AssertEqualsDirectEvaluation(own, filter, CreateBlock(reversed), reversed, steps);
        },
        iter: 300);

    [Fact]
    public void VerdictsOf_TooManyFilters_ReturnsNull()
    {
        var block = new Block(64, 1, 0);
        var filters = Enumerable.Range(0, 40).Select(i => SubscriptionFilter.Parse($"a = {i}")).ToArray();
        Assert.Equal(32, filters.Count(filter => block.VerdictsOf(filter) is not null));
        Assert.NotNull(block.VerdictsOf(filters[0]));
        Assert.Null(block.VerdictsOf(filters[39]));
    }

    /// <summary>Tests shared results and own results, because a block stores the results of only 32 filters.</summary>
    [Fact]
    public async Task GetVerdicts_ConcurrentReadersAndAppends_EqualsDirectEvaluation()
    {
        const int Entries = 2_000;
        using var limit = CancellationTokenSource.CreateLinkedTokenSource(TestContext.Current.CancellationToken);
        limit.CancelAfter(Eventually.Patience);
        var token = limit.Token;
        var filters = Enumerable.Range(0, 40).Select(static i => SubscriptionFilter.TagIn("value", $"{i}", $"{i + 50}")).ToArray();
        for (var round = 0; round < 5; round++)
        {
            var block = new Block(Entries * 2, 1, 0);
            var readers = Enumerable.Range(0, 3).Select(_ => Task.Run(() =>
            {
                var cursorFilters = filters.Select(static filter => new CursorFilter(filter)).ToArray();
                for (var read = 0; read < Entries;)
                {
                    token.ThrowIfCancellationRequested();
                    var count = block.Count;
                    foreach (var filter in cursorFilters)
                    {
                        var verdicts = filter.GetVerdicts(block, count)!;
                        for (var i = read; i < count; i++) Assert.Equal(filter.Filter.Accepts(TagsOf(i)), verdicts.Accepts(i));
                    }

                    read = count;
                }
            }, token));
            await Task.WhenAll([.. readers, Task.Run(() =>
            {
                for (var i = 0; i < Entries; i++) Append(block, TagsOf(i));
            }, token)]);
        }

        static MessageTags? TagsOf(int index) => Tags[index * 7 % Tags.Length];
    }

    static Block CreateBlock(int[] tags)
    {
        var block = new Block(tags.Length * 2, 1, 0);
        foreach (var tag in tags) Append(block, Tags[tag]);
        return block;
    }

    static void Append(Block block, MessageTags? tags) =>
        block.Append(new Message(default, MessageType.Text), 1, 0, EntryMetadata.Create(new Message { Tags = tags }, null));

    static void AssertEqualsDirectEvaluation(FilterVerdicts verdicts, SubscriptionFilter filter, Block block, int[] tags, int[] steps)
    {
        var accepted = tags.Select(tag => filter.Accepts(Tags[tag])).ToArray();
        for (var (count, step) = (0, 0); count < tags.Length; step++)
        {
            count = Math.Min(tags.Length, count + steps[step % steps.Length]);
            verdicts.Complete(block, count);
            for (var i = 0; i < count; i++)
            {
                Assert.Equal(accepted[i], verdicts.Accepts(i));
                Assert.Equal(Find(i, count, true), verdicts.FindAccepted(i, count));
                Assert.Equal(Find(i, count, false), verdicts.FindRejected(i, count));
            }
        }

        int Find(int from, int to, bool value)
        {
            while (from < to && accepted[from] != value) from++;
            return from;
        }
    }
}
