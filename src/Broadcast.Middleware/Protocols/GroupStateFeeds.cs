using Broadcast.Middleware.Presence;

namespace Broadcast.Middleware.Protocols;

/// <summary>Provides the presence states of groups.</summary>
/// <param name="presence">The states of all groups.</param>
sealed class GroupStateFeeds(GroupPresence presence) : IFeedSource
{
    public void Subscribe(FeedSubscription subscription) => presence.Subscribe(
        subscription.Group,
        static name => new GroupStateFeed(name),
        feed =>
        {
            subscription.Feed = feed;
            feed.Add(subscription);
        });

    public void Unsubscribe(FeedSubscription subscription) =>
        presence.Unsubscribe(subscription.Group, feed => feed.Remove(subscription));
}
