namespace Broadcast.Middleware.Delivery;

/// <summary>Determines when a group is removed.</summary>
enum GroupLifetime
{
    /// <summary>When its last member leaves.</summary>
    UntilEmpty,

    /// <summary>When it has no members and its history has expired.</summary>
    UntilHistoryExpires,

    /// <summary>When its owner removes it. The cluster owns its groups.</summary>
    Owned,
}
