namespace Broadcast.Middleware.Protocols;

/// <summary>The subscription of one client to the states of one group, and how much the client has received.</summary>
/// <param name="group">The name of the group.</param>
/// <param name="onChanged">Called on any thread, under the lock of the feed, when there is something to send.</param>
sealed class GroupStateSubscription(string group, Action<GroupStateSubscription> onChanged)
{
    /// <summary>The client has received nothing.</summary>
    public const long None = -1;

    public string Group => group;

    public GroupStateFeed Feed { get; set; } = null!;

    /// <summary>The version of the last sent state. Only the feed uses it.</summary>
    public long SentVersion { get; set; }

    /// <summary>
    /// The version of the last sent removal of a state. A snapshot covers all earlier removals. Only the feed uses it.
    /// </summary>
    public long SentRemovalVersion { get; set; } = None;

    /// <summary>There is something to send. Only the sender uses it.</summary>
    public bool IsDue { get; set; }

    /// <summary>The client has unsubscribed. Only the sender uses it.</summary>
    public bool HasEnded { get; set; }

    public void OnChanged() => onChanged(this);
}
