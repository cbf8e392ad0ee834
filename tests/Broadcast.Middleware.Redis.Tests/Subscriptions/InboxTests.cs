using Broadcast.Middleware.Redis.Storage;
using Broadcast.Middleware.Redis.Subscriptions;

namespace Broadcast.Middleware.Redis.Tests.Subscriptions;

/// <summary>Tests which batches of a channel the inbox accepts.</summary>
public sealed class InboxTests
{
    readonly Inbox _inbox = new();

    [Fact]
    public void Add_CopyOfBatch_IsIgnored()
    {
        Add("a", 1, "first");
        Add("a", 2, "second");
        Add("a", 1, "first");
        Add("a", 2, "second");
        Assert.Equal(["first", "second"], TakeAll());
    }

    [Fact]
    public void Add_SameTagInNewEpoch_IsNoCopy()
    {
        Add("a", 1, "first");
        Add("b", 1, "first");
        Assert.Equal(["first", "first"], TakeAll());
    }

    /// <summary>Redis has returned to an older state, and has given an offset to another batch.</summary>
    [Fact]
    public void Add_OtherBatchWithSameOffset_RequestsCatchUp()
    {
        Add("a", 1, "first");
        Add("a", 1, "other");
        Assert.Equal(["catch up", "first", "other"], TakeAll());
    }

    void Add(string epoch, long last, string tag) => Assert.True(_inbox.Add(new(epoch, last, 1, Batch.NoTag, tag, default)));

    /// <summary>Returns the tags of the batches, and "catch up" for each request to read the stream.</summary>
    List<string> TakeAll()
    {
        var taken = new List<string>();
        while (_inbox.TryTake(out var batch, out var catchesUp)) taken.Add(catchesUp ? "catch up" : batch.Tag);
        return taken;
    }
}
