using Broadcast.Middleware.Delivery;

namespace Broadcast.Middleware.Connections;

/// <summary>
/// The subscription filters of a connection. A connection creates the object for its first filter. The lock of
/// <c>Connection.JoinedGroups</c> guards the filters of the app.
/// </summary>
/// <param name="fromUrl">The filter in the URL of the client. Null if the URL has no filter.</param>
sealed class ConnectionFilters(SubscriptionFilter? fromUrl)
{
    readonly Dictionary<string, SubscriptionFilter> _fromServer = new(StringComparer.Ordinal);

    /// <summary>The filter that the client has chosen in its URL.</summary>
    public SubscriptionFilter? FromUrl => fromUrl;

    /// <summary>
    /// Returns the filter that the app has set for a group. The filter stays after the client has left the group, so
    /// that the client cannot remove the filter with a leave and a join.
    /// </summary>
    public SubscriptionFilter? FindServerFilter(string group) => _fromServer.GetValueOrDefault(group);

    /// <summary>
    /// Returns the number of groups that have a filter of the app, but that the client has left.
    /// </summary>
    /// <param name="joined">The groups of the connection.</param>
    /// <param name="joining">A group to exclude from the number, because the client joins this group.</param>
    public int CountLeft(List<Membership> joined, string joining)
    {
        var count = _fromServer.Count - (_fromServer.ContainsKey(joining) ? 1 : 0);
        foreach (var membership in joined)
        {
            if (membership.Group.Name != joining && _fromServer.ContainsKey(membership.Group.Name)) count--;
        }

        return count;
    }

    public void SetServerFilter(string group, SubscriptionFilter? filter)
    {
        if (filter is null) _fromServer.Remove(group);
        else _fromServer[group] = filter;
    }
}
