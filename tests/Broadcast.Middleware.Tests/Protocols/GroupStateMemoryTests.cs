using Broadcast.Middleware.Tests.Limits;

namespace Broadcast.Middleware.Tests.Protocols;

/// <summary>Nothing else runs meanwhile: these tests measure memory.</summary>
[Collection(nameof(Alone))]
public sealed class GroupStateMemoryTests
{
    [Fact]
    public void A_subscriber_that_does_not_look_costs_no_memory_for_those_who_came_and_went()
    {
        var feed = new GroupStateFeed("g");
        var subscription = new GroupStateSubscription("g", static _ => { });
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
    public void A_subscriber_costs_little_however_many_members_it_is_told_of()
    {
        const int Members = 2_000, Subscribers = 500;
        var feed = new GroupStateFeed("g");
        for (var i = 0; i < Members; i++) feed.Set($"connection {i}", null, "{\"k\":\"v\"}"u8.ToArray(), DateTimeOffset.UnixEpoch);
        var before = GC.GetTotalMemory(forceFullCollection: true);
        for (var i = 0; i < Subscribers; i++)
        {
            var subscription = new GroupStateSubscription("g", static _ => { });
            feed.Add(subscription);
            Assert.False(feed.Take(subscription, int.MaxValue, out _).IsEmpty);
        }

        // Each that remembered whom it has told what would take more than this.
        Assert.InRange(GC.GetTotalMemory(forceFullCollection: true) - before, long.MinValue, Subscribers * 1_000);
        GC.KeepAlive(feed);
    }
}
