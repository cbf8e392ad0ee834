namespace Broadcast.Middleware;

/// <summary>That one client is told the states of one group, and how far it has been told.</summary>
sealed class GroupStateSubscription(GroupStates owner, string group)
{
    public const long Nothing = -1;

    public string Group => group;

    public GroupStateFeed Feed { get; set; } = null!;

    /// <summary>The last change it was told of states that were set. The feed's to use.</summary>
    public long Told { get; set; }

    /// <summary>The last it was told of those that were cleared: as of a snapshot, all before it. The feed's to use.</summary>
    public long ToldCleared { get; set; } = Nothing;

    /// <summary>Whether there is something to tell. Its owner's to use.</summary>
    public bool IsDue { get; set; }

    /// <summary>Its owner's to use.</summary>
    public bool HasEnded { get; set; }

    public void OnNews() => owner.OnNews(this);
}
