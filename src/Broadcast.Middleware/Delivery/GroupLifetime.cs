namespace Broadcast.Middleware.Delivery;

/// <summary>The conditions under which a group is removed.</summary>
enum GroupLifetime
{
    /// <summary>The group is removed when its last member leaves.</summary>
    UntilEmpty,

    /// <summary>The group is removed when it has no members and its history has expired.</summary>
    UntilHistoryExpires,

    /// <summary>The group is removed when its owner removes it. The cluster owns its groups.</summary>
    Owned,
}
