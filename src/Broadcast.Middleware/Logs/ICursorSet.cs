namespace Broadcast.Middleware.Logs;

/// <summary>
/// A set of cursors of one log. When the log has new messages, the owner of the set visits all cursors in one pass: it
/// runs the subscriber of each cursor. Only one thread at a time uses the set.
/// </summary>
interface ICursorSet
{
    void Add(Cursor cursor);

    void Remove(Cursor cursor);

    /// <summary>
    /// Tracks a cursor of this set. After this call, <see cref="ILogSubscriber.OnAnnounced"/> reports each message
    /// before the message gets its sequence number. The caller holds the lock of the log.
    /// </summary>
    void TrackLocked(Cursor cursor);

    /// <summary>
    /// The set for cursors in the log of transient messages of the same group. The set must not visit these cursors,
    /// because it already visits their subscribers through the cursors of the main log.
    /// </summary>
    ICursorSet ForTransientLog { get; }

    /// <summary>Reports announced messages to the subscribers of all sets on this thread.</summary>
    void ActivateAnnounced();
}
