namespace Broadcast.Middleware.Presence;

/// <summary>Provides the feeds of groups.</summary>
interface IFeedSource
{
    /// <summary>
    /// Finds or creates the feed of a subscription, stores the feed in the subscription, and adds the subscription to
    /// the feed.
    /// </summary>
    void Subscribe(FeedSubscription subscription);

    /// <summary>Removes the subscription from its feed: see <see cref="Subscribe"/>.</summary>
    void Unsubscribe(FeedSubscription subscription);
}
