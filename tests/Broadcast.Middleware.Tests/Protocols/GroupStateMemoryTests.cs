
namespace Broadcast.Middleware.Tests.Protocols;

/// <summary>Tests the memory that group states use. No other test runs in parallel, because these tests measure memory.</summary>
[Collection(nameof(NotParallelCollection))]
public sealed class GroupStateMemoryTests
{
    [Fact]
    public void Feed_ManyUnreadMemberChanges_KeepsMemoryBounded()
    {
        var feed = new GroupStateFeed("g");
        var subscription = new FeedSubscription("g", static _ => { });
        feed.Add(subscription);
        feed.Take(subscription, int.MaxValue, out _);
        var before = GC.GetTotalMemory(forceFullCollection: true);

        for (var i = 0; i < 50_000; i++)
        {
            feed.Set($"connection {i}", null, "{\"k\":\"v\"}"u8.ToArray(), DateTimeOffset.UnixEpoch);
            feed.Set($"connection {i}", null, default, DateTimeOffset.UnixEpoch);
        }

        Assert.InRange(GC.GetTotalMemory(forceFullCollection: true) - before, long.MinValue, 1_000_000);
        GC.KeepAlive(feed);
    }

    [Fact]
    public void Subscriber_TwoThousandMembers_UsesLessThanOneKilobyte()
    {
        const int Members = 2_000, Subscribers = 500;
        var feed = new GroupStateFeed("g");
        for (var i = 0; i < Members; i++) feed.Set($"connection {i}", null, "{\"k\":\"v\"}"u8.ToArray(), DateTimeOffset.UnixEpoch);
        var before = GC.GetTotalMemory(forceFullCollection: true);
        for (var i = 0; i < Subscribers; i++)
        {
            var subscription = new FeedSubscription("g", static _ => { });
            feed.Add(subscription);
            Assert.False(feed.Take(subscription, int.MaxValue, out _).IsEmpty);
        }

        // If each subscription had a copy of the members, the memory would exceed this limit.
        Assert.InRange(GC.GetTotalMemory(forceFullCollection: true) - before, long.MinValue, Subscribers * 1_000);
        GC.KeepAlive(feed);
    }
}
