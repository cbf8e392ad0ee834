using Broadcast.Middleware.Diagnostics;

namespace Broadcast.Middleware.Presence;

/// <summary>
/// The feeds of a presence endpoint. The feed of a group exists while a client of this node watches the group.
/// </summary>
/// <param name="presence">Provides the members.</param>
/// <param name="writer">Creates the JSON of a member.</param>
/// <param name="time">The time provider.</param>
sealed class PresenceFeeds(GroupPresence presence, MemberWriter writer, TimeProvider time) : IFeedSource
{
    readonly Lock _gate = new();
    readonly Dictionary<string, PresenceFeed> _feeds = new(StringComparer.Ordinal);

    /// <summary>The number of watched groups.</summary>
    public int Count
    {
        get
        {
            lock (_gate) return _feeds.Count;
        }
    }

    public void Subscribe(FeedSubscription subscription)
    {
        PresenceFeed? started = null;
        lock (_gate)
        {
            if (!_feeds.TryGetValue(subscription.Group, out var feed))
                _feeds[subscription.Group] = feed = started = new(subscription.Group, presence, writer, time);
            subscription.Feed = feed;
            feed.Add(subscription);
        }

        if (started is not null) _ = BackgroundWork.Run(() => RunAsync(subscription.Group, started));
    }

    public void Unsubscribe(FeedSubscription subscription)
    {
        lock (_gate)
        {
            var feed = (PresenceFeed)subscription.Feed;
            feed.Remove(subscription);
            if (feed.HasSubscriptions) return;
            RemoveLocked(subscription.Group, feed);
            feed.Stop();
        }
    }

    async Task RunAsync(string group, PresenceFeed feed)
    {
        if (await feed.RunAsync().ConfigureAwait(false) is not { } failure) return;
        // Remove the feed before the subscribers receive the error, because no client may subscribe to a failed feed.
        // The next subscription starts a new feed.
        lock (_gate) RemoveLocked(group, feed);
        feed.Fail(failure);
    }

    void RemoveLocked(string group, PresenceFeed feed)
    {
        // After a failure, the group may already have a new feed.
        if (_feeds.GetValueOrDefault(group) == feed) _feeds.Remove(group);
    }
}
