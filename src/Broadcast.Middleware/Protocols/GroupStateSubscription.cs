namespace Broadcast.Middleware;

/// <summary>That one client is told the states of one group, and how far it has been told.</summary>
/// <param name="group">The group.</param>
/// <param name="onNews">Called from any thread, within the feed's lock, when there is something to tell.</param>
sealed class GroupStateSubscription(string group, Action<GroupStateSubscription> onNews)
{
    public const long Nothing = -1;

    public string Group => group;

    public GroupStateFeed Feed { get; set; } = null!;

    /// <summary>The last change it was told of states that were set. The feed's to use.</summary>
    public long Told { get; set; }

    /// <summary>The last it was told of those that were cleared: as of a snapshot, all before it. The feed's to use.</summary>
    public long ToldCleared { get; set; } = Nothing;

    /// <summary>Whether there is something to tell. To be used by whoever tells.</summary>
    public bool IsDue { get; set; }

    /// <summary>The same.</summary>
    public bool HasEnded { get; set; }

    public void OnNews() => onNews(this);
}
