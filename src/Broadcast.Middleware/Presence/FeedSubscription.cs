namespace Broadcast.Middleware.Presence;

/// <summary>
/// The subscription of one client to the feed of one group. The subscription stores the versions of the changes that
/// the sender has sent.
/// </summary>
/// <param name="group">The name of the group.</param>
/// <param name="onChanged">
/// The callback for a change that the sender must send. Any thread may run the callback, even a thread that holds the
/// lock of the feed.
/// </param>
/// <param name="onFailed">The callback for an error that ends the feed. Null if the feed never fails.</param>
sealed class FeedSubscription(
    string group, Action<FeedSubscription> onChanged, Action<Exception>? onFailed = null)
{
    /// <summary>The value of <see cref="SentRemovalVersion"/> before the first snapshot.</summary>
    public const long None = -1;

    public string Group => group;

    public MemberFeed Feed { get; set; } = null!;

    /// <summary>The version of the last sent item. Only the feed uses this property.</summary>
    public long SentVersion { get; set; }

    /// <summary>
    /// The version of the snapshot that the subscriber receives or has received. Only the feed uses this property.
    /// </summary>
    public long SnapshotVersion { get; set; }

    /// <summary>
    /// The version of the last sent removal of an item. A snapshot replaces all earlier items, so the sender need not
    /// send earlier removals. Only the feed uses this property.
    /// </summary>
    public long SentRemovalVersion { get; set; } = None;

    /// <summary>
    /// True while the subscription waits in the queue of the sender. Only the sender uses this property.
    /// </summary>
    public bool IsDue { get; set; }

    /// <summary>True after the client has unsubscribed. Only the sender uses this property.</summary>
    public bool HasEnded { get; set; }

    public void OnChanged() => onChanged(this);

    /// <summary>Reports that the feed has ended with an error.</summary>
    public void OnFailed(Exception exception) => onFailed?.Invoke(exception);
}
