using CsCheck;

namespace Broadcast.Middleware.Tests.Logs;

public sealed class FilterVerdictsTests
{
    static readonly SubscriptionFilter Filter = SubscriptionFilter.Parse("wanted");
    static readonly EntryMetadata? Wanted = EntryMetadata.Create(new Message { Tags = MessageTags.Create(("wanted", "")) }, null);

    /// <summary>Tests blocks whose entries are evaluated in several steps, as when readers alternate with publishers.</summary>
    [Fact]
    public void Complete_InSteps_EqualsDirectEvaluation() => Gen.Select(Gen.Frequency((3, Gen.Const(false)), (1, Gen.Const(true))).Array[1, 400], Gen.Int[1, 90].Array[1, 20]).Sample(
        (wanted, steps) =>
        {
            var block = new Block(wanted.Length * 2, 1, 0);
            foreach (var isWanted in wanted) block.Append(new Message(default, MessageType.Text), 1, 0, isWanted ? Wanted : null);
            var verdicts = block.VerdictsOf(Filter)!;
            Assert.Same(verdicts, block.VerdictsOf(Filter));
            for (var (count, step) = (0, 0); count < wanted.Length; step++)
            {
                count = Math.Min(wanted.Length, count + steps[step % steps.Length]);
                verdicts.Complete(block, count);
                for (var i = 0; i < count; i++)
                {
                    Assert.Equal(wanted[i], verdicts.Accepts(i));
                    Assert.Equal(Find(i, count, true), verdicts.FindAccepted(i, count));
                    Assert.Equal(Find(i, count, false), verdicts.FindRejected(i, count));
                }
            }

            int Find(int from, int to, bool value)
            {
                while (from < to && wanted[from] != value) from++;
                return from;
            }
        },
        iter: 200);

    [Fact]
    public void VerdictsOf_TooManyFilters_ReturnsNull()
    {
        var block = new Block(64, 1, 0);
        var filters = Enumerable.Range(0, 40).Select(i => SubscriptionFilter.Parse($"a = {i}")).ToArray();
        Assert.Equal(32, filters.Count(filter => block.VerdictsOf(filter) is not null));
        Assert.NotNull(block.VerdictsOf(filters[0]));
        Assert.Null(block.VerdictsOf(filters[39]));
    }

    [Fact]
    public async Task Complete_Concurrently_EqualsDirectEvaluation()
    {
        const int Entries = 2_000;
        for (var round = 0; round < 20; round++)
        {
            var block = new Block(Entries * 2, 1, 0);
            for (var i = 0; i < Entries; i++) block.Append(new Message(default, MessageType.Text), 1, 0, i % 3 == 0 ? Wanted : null);
            await Task.WhenAll(Enumerable.Range(1, 3).Select(reader => Task.Run(() =>
            {
                for (var count = reader; count <= Entries; count += reader)
                {
                    var verdicts = block.VerdictsOf(Filter)!;
                    verdicts.Complete(block, count);
                    for (var i = Math.Max(0, count - 70); i < count; i++) Assert.Equal(i % 3 == 0, verdicts.Accepts(i));
                }
            })));
        }
    }
}
