using CsCheck;

namespace Broadcast.Middleware.Tests.Limits;

/// <summary>What becomes of a stalled reader's messages when it is as far behind as it may be.</summary>
public sealed class CompactionTests
{
    const int Capacity = 8_000, Largest = 2_000;

    [Fact]
    public void A_stalled_reader_loses_nothing_that_was_not_replaced()
    {
        var model = new LogModel(logs: 1, 2 * Capacity);
        for (var i = 0; i < 1_000; i++)
        {
            model.Publish(0, $"key {i % 10}", 100);
            if (model.Reader.IsBehindBy(Capacity)) Assert.True(model.TryCompact(Capacity, Largest));
        }

        model.TakeAll();
        model.AssertConflated();
    }

    [Fact]
    public void A_reader_that_stalls_at_the_end_of_a_block_loses_nothing_that_was_not_replaced()
    {
        var model = new LogModel(logs: 1, 2 * Capacity);
        // Five frames of 102 bytes are what fits the first block.
        for (var i = 0; i < 5; i++) model.Publish(0, $"key {i}", 100);
        model.TakeAll();
        for (var i = 0; !model.Reader.IsBehindBy(Capacity); i++) model.Publish(0, $"key {i % 10}", 100);

        Assert.True(model.TryCompact(Capacity, Largest));

        model.TakeAll();
        model.AssertConflated();
    }

    [Fact]
    public void What_a_reader_has_kept_for_itself_is_replaced_too()
    {
        var model = new LogModel(logs: 1, 1 << 30);
        for (var round = 0; round < 20; round++)
        {
            for (var i = 0; i < 20; i++) model.Publish(0, $"key {i % 10}", 100);
            Assert.True(model.TryCompact(-1, Largest), $"In round {round} ten keys of 102 bytes were more than {Largest} bytes.");
        }

        model.TakeAll();
        model.AssertConflated();
        Assert.Equal(10, model.Got.Count);
    }

    /// <summary>After each message the writer looks, as it does while a write waits; now and then the reader takes something.</summary>
    [Fact]
    public void Whatever_is_published_a_reader_is_given_up_only_if_too_much_is_left() => Gen.Select(
            Gen.Int[0, 1], Gen.Int[0, 5], Gen.Int[4, 300], Gen.Int[0, 99]).Array[0, 400].Sample(
        steps =>
        {
            var model = new LogModel(logs: 2, 2 * Capacity);
            foreach (var (log, key, size, takes) in steps)
            {
                model.Publish(log, key == 0 && takes < 5 ? null : $"key {key}", size);
                if (model.Reader.IsBehindBy(Capacity) && !model.TryCompact(Capacity, Largest))
                {
                    Assert.True(Math.Max(model.Waiting(0), model.Waiting(1)) > Largest, "Given up, though little was left.");
                    return;
                }

                if (takes < 3) model.Take();
            }

            model.TakeAll();
            model.AssertConflated();
        },
        iter: 300);

    /// <summary>A newer message that is not for the reader is nothing to be spared an older one for.</summary>
    [Fact]
    public void A_message_is_not_replaced_by_one_that_is_for_others()
    {
        var model = new LogModel(logs: 1, 1 << 30);
        model.Publish(0, "key", 100);
        model.Publish(0, "key", 100, isForReader: false);
        Assert.True(model.TryCompact(-1, Largest));

        model.TakeAll();

        Assert.Equal([0], model.Got);
    }

    [Fact]
    public void A_message_is_not_replaced_by_one_that_came_after_the_reader_left()
    {
        var model = new LogModel(logs: 1, 1 << 30);
        model.Publish(0, "key", 100);
        model.Leave(0);
        model.Publish(0, "key", 100);
        Assert.True(model.TryCompact(-1, Largest));

        model.TakeAll();

        Assert.Equal([0], model.Got);
    }

    /// <summary>A connection that is being closed gets what was published before, and nothing that came later.</summary>
    [Fact]
    public void A_message_is_not_replaced_by_one_that_came_after_the_last_one_that_is_sent()
    {
        var model = new LogModel(logs: 1, 1 << 30);
        model.Publish(0, "key", 100);
        model.Publish(0, "key", 100);
        Assert.True(model.TryCompact(-1, Largest, lastSequence: 1));

        model.Take(lastSequence: 1);

        Assert.Equal([0], model.Got);
    }

    [Fact]
    public void Messages_for_others_are_not_counted_as_left_out_by_a_skip()
    {
        var model = new LogModel(logs: 1, 1 << 30, SlowConsumer.SkipToLatest);
        model.Publish(0, null, 100);
        model.Publish(0, null, 100, isForReader: false);

        model.Skip(-1);

        model.TakeAll();
        model.AssertCounted();
    }

    [Fact]
    public void What_is_published_after_a_reader_left_is_not_counted_by_its_skips()
    {
        var model = new LogModel(logs: 1, 1 << 30, SlowConsumer.SkipToLatest);
        model.Publish(0, null, 100);
        model.Leave(0);
        for (var i = 0; i < 2; i++)
        {
            model.Publish(0, null, 100);
            model.Skip(-1);
        }

        model.TakeAll();
        model.AssertCounted();
    }

    [Fact]
    public void Messages_for_others_are_not_counted_as_left_out_by_a_compaction()
    {
        var model = new LogModel(logs: 1, 1 << 30);
        model.Publish(0, "key", 100, isForReader: false);
        model.Publish(0, "key", 100);

        Assert.True(model.TryCompact(-1, Largest));

        model.TakeAll();
        model.AssertCounted();
    }
}
