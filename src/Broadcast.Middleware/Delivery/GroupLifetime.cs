namespace Broadcast.Middleware.Delivery;

/// <summary>The conditions under which the server removes a group.</summary>
enum GroupLifetime
{
    /// <summary>The server removes the group when its last member leaves.</summary>
    UntilEmpty,

    /// <summary>
    /// The server removes the group when the group has no members, and its history and its retained values have
    /// expired.
    /// </summary>
    UntilHistoryExpires,

    /// <summary>Only the owner removes the group. The cluster owns its groups.</summary>
    Owned,
}
