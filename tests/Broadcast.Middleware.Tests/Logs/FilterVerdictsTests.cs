using System.Globalization;
using CsCheck;

namespace Broadcast.Middleware.Tests.Logs;

public sealed class FilterVerdictsTests
{
    // A block assigns numbers to at most 63 different tag sets. So some test cases have entries whose tags have no number.
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
            own.Reset(0);
            int[] reversed = [.. tags.Reverse()];
            AssertEqualsDirectEvaluation(own, filter, CreateBlock(reversed), reversed, steps);
        },
        iter: 300);

    /// <summary>
    /// Moves a cursor with a delegate through two blocks: forward, past skipped entries, and back to earlier entries. The delegate throws
    /// an exception for some entries.
    /// </summary>
    [Fact]
    public void GetVerdicts_DelegateThrowsForSomeEntries_ReturnsResultsBeforeException() => Gen.Select(
        Gen.Frequency((20, Gen.Const('a')), (20, Gen.Const('r')), (1, Gen.Const('x'))).Array[1, 300],
        Gen.Select(Gen.Bool, Gen.Int[0, 299], Gen.Int[0, 150]).Array[1, 30]).Sample(
        static (results, moves) =>
        {
            var calls = new List<int>();
            var filter = new CursorFilter(SubscriptionFilter.FromDelegate(message =>
            {
                calls.Add(int.Parse(message.Key!, CultureInfo.InvariantCulture));
                return results[calls[^1]] == 'x' ? throw new InvalidOperationException("No result.") : results[calls[^1]] == 'a';
            }));
            Block[] blocks = [CreateBlock(firstOffset: 1), CreateBlock(firstOffset: 1 + results.Length)];
            foreach (var (isSecond, start, length) in moves)
            {
                var block = blocks[isSecond ? 1 : 0];
                var from = start % results.Length;
                var to = Math.Min(results.Length, from + length);
                var expected = from;
                while (expected < to && results[expected] != 'x') expected++;
                calls.Clear();
                if (expected == from && to > from)
                {
                    Assert.Throws<SubscriptionFilterException>(() => filter.GetVerdicts(block, from, ref to));
                    continue;
                }

                var verdicts = filter.GetVerdicts(block, from, ref to)!;
                Assert.Equal(expected, to);
                for (var i = from; i < to; i++) Assert.Equal(results[i] == 'a', verdicts.Accepts(i));
                Assert.All(calls, index => Assert.InRange(index, from, to));

                // The second call needs no further evaluation.
                calls.Clear();
                filter.GetVerdicts(block, from, ref to);
                Assert.Empty(calls);
            }

            Block CreateBlock(long firstOffset)
            {
                var block = new Block(results.Length * 2, firstOffset, 0);
                for (var i = 0; i < results.Length; i++)
                    block.Append(new Message(default, MessageType.Text) { Key = $"{i}" }, 1, 0, null);
                return block;
            }
        },
        iter: 1_000);

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
                        var verdicts = filter.GetVerdicts(block, read, ref count)!;
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
            Assert.Equal(count, verdicts.Complete(block, 0, count));
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
