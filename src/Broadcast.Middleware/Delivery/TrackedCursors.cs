using Broadcast.Middleware.Logs;

namespace Broadcast.Middleware.Delivery;

/// <summary>
/// The cursors of one shard that belong to readers of many logs. The group announces each message to these cursors, so
/// that their readers need not check every log.
/// </summary>
/// <remarks>
/// Invariant: a thread announces a message before the message gets its sequence number. Only the thread of the pump
/// adds, removes and activates cursors.
/// </remarks>
sealed class TrackedCursors
{
    readonly HashSet<Cursor> _cursors = [];
    int _isAnnounced;

    /// <summary>The next item in the list of the pump. Only the pump uses this property.</summary>
    public TrackedCursors? Next { get; set; }

    public void Add(Cursor cursor) => _cursors.Add(cursor);

    public void Remove(Cursor cursor) => _cursors.Remove(cursor);

    /// <summary>
    /// Marks the cursors as announced. Returns true only to the first caller, which adds this object to the list of the
    /// pump.
    /// </summary>
    public bool TryMarkAnnounced() => Interlocked.Exchange(ref _isAnnounced, 1) == 0;

    /// <summary>Activates the cursors, so that their readers check the log.</summary>
    public void Activate()
    {
        // Clear the mark first. A later announcement then adds this object to the list again.
        Interlocked.Exchange(ref _isAnnounced, 0);
        foreach (var cursor in _cursors)
        {
            if (!cursor.IsActive) cursor.Subscriber.OnAnnounced(cursor);
        }
    }
}
