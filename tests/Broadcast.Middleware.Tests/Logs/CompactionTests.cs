using CsCheck;

namespace Broadcast.Middleware.Tests.Logs;

/// <summary>Tests the compaction of the unread messages of a stalled reader at its backlog limit.</summary>
public sealed class CompactionTests
{
    const int Capacity = 8_000, Largest = 2_000;

    [Fact]
    public void Compact_StalledReader_LosesOnlyReplacedMessages()
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
    public void Compact_ReaderAtEndOfBlock_LosesOnlyReplacedMessages()
    {
        var model = new LogModel(logs: 1, 2 * Capacity);
        // The first block holds five frames of 102 bytes.
        for (var i = 0; i < 5; i++) model.Publish(0, $"key {i}", 100);
        model.TakeAll();
        for (var i = 0; !model.Reader.IsBehindBy(Capacity); i++) model.Publish(0, $"key {i % 10}", 100);

        Assert.True(model.TryCompact(Capacity, Largest));

        model.TakeAll();
        model.AssertConflated();
    }

    [Fact]
    public void Compact_RunsAgain_ReplacesAlreadyCompactedMessages()
    {
        var model = new LogModel(logs: 1, 1 << 30);
        for (var round = 0; round < 20; round++)
        {
            for (var i = 0; i < 20; i++) model.Publish(0, $"key {i % 10}", 100);
            Assert.True(model.TryCompact(-1, Largest), $"In round {round}, the latest messages of ten keys exceed {Largest} bytes.");
        }

        model.TakeAll();
        model.AssertConflated();
        Assert.Equal(10, model.Got.Count);
    }

    /// <summary>
    /// Tests random steps. The test checks the limit after each message, as a writer does during a pending write. The
    /// reader sometimes takes a message.
    /// </summary>
    [Fact]
    public void Compact_RandomMessages_FailsOnlyIfRemainingBytesExceedLimit() => Gen.Select(
            Gen.Int[0, 1], Gen.Int[0, 5], Gen.Int[4, 300], Gen.Int[0, 99]).Array[0, 400].Sample(
        steps =>
        {
            var model = new LogModel(logs: 2, 2 * Capacity);
            foreach (var (log, key, size, takes) in steps)
            {
                model.Publish(log, key == 0 && takes < 5 ? null : $"key {key}", size);
                if (model.Reader.IsBehindBy(Capacity) && !model.TryCompact(Capacity, Largest))
                {
                    Assert.True(Math.Max(model.Waiting(0), model.Waiting(1)) > Largest, "The compaction failed, although the remaining messages are within the limit.");
                    return;
                }

                if (takes < 3) model.Take();
            }

            model.TakeAll();
            model.AssertConflated();
        },
        iter: 300);

    /// <summary>Tests that a newer message for other readers does not replace an older message for this reader.</summary>
    [Fact]
    public void Compact_NewerMessageForOtherReaders_KeepsOlderMessage()
    {
        var model = new LogModel(logs: 1, 1 << 30);
        model.Publish(0, "key", 100);
        model.Publish(0, "key", 100, isForReader: false);
        Assert.True(model.TryCompact(-1, Largest));

        model.TakeAll();

        Assert.Equal([0], model.Got);
    }

    [Fact]
    public void Compact_NewerMessageAfterLeave_KeepsOlderMessage()
    {
        var model = new LogModel(logs: 1, 1 << 30);
        model.Publish(0, "key", 100);
        model.Leave(0);
        model.Publish(0, "key", 100);
        Assert.True(model.TryCompact(-1, Largest));

        model.TakeAll();

        Assert.Equal([0], model.Got);
    }

    /// <summary>Tests a closing connection, which receives only the messages that were published before the close.</summary>
    [Fact]
    public void Compact_NewerMessageAfterClose_KeepsOlderMessage()
    {
        var model = new LogModel(logs: 1, 1 << 30);
        model.Publish(0, "key", 100);
        model.Publish(0, "key", 100);
        Assert.True(model.TryCompact(-1, Largest, lastSequence: 1));

        model.Take(lastSequence: 1);

        Assert.Equal([0], model.Got);
    }

    [Fact]
    public void Skip_MessagesForOtherReaders_AreNotCountedAsSkipped()
    {
        var model = new LogModel(logs: 1, 1 << 30, SlowConsumer.SkipToLatest);
        model.Publish(0, null, 100);
        model.Publish(0, null, 100, isForReader: false);

        model.Skip(-1);

        model.TakeAll();
        model.AssertCounted();
    }

    [Fact]
    public void Skip_MessagesAfterLeave_AreNotCountedAsSkipped()
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
    public void Compact_MessagesForOtherReaders_AreNotCountedAsReplaced()
    {
        var model = new LogModel(logs: 1, 1 << 30);
        model.Publish(0, "key", 100, isForReader: false);
        model.Publish(0, "key", 100);

        Assert.True(model.TryCompact(-1, Largest));

        model.TakeAll();
        model.AssertCounted();
    }
}
