namespace Broadcast.Middleware.Logs;

/// <summary>
/// A set of cursors of one log. When a main log has new messages, each set of the log visits its cursors: the set calls
/// <see cref="ILogSubscriber.OnNewMessages"/>. Only one thread at a time uses the set.
/// </summary>
interface ICursorSet
{
    void Add(Cursor cursor);

    void Remove(Cursor cursor);

    /// <summary>
    /// Tracks a cursor of this set. After this call, the group announces each message before the message gets its
    /// sequence number: see <see cref="ILogSubscriber.OnAnnounced"/>. The caller holds the lock of the log.
    /// </summary>
    void TrackLocked(Cursor cursor);

    /// <summary>
    /// The set for cursors in the log of transient messages of the same group. That set does not visit its cursors,
    /// because this set already visits the same subscribers.
    /// </summary>
    ICursorSet ForTransientLog { get; }

    /// <summary>Reports announced messages to the subscribers of all sets on this thread.</summary>
    void ActivateAnnounced();
}
