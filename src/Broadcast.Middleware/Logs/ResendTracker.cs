namespace Broadcast.Middleware.Logs;

/// <summary>
/// Moves the bookmarks of a <see cref="LogReader"/> whose client acknowledges messages, and rewinds the reader when the
/// client reconnects. Only the thread of the subscriber uses this class.
/// </summary>
/// <param name="reader">The reader that owns the cursors.</param>
/// <param name="acknowledgements">The state of the client.</param>
sealed class ResendTracker(LogReader reader, Acknowledgements acknowledgements)
{
    public Acknowledgements Acknowledgements => acknowledgements;

    /// <summary>True if the reader can send every unacknowledged message again.</summary>
    public bool CanRewind
    {
        get
        {
            if (!acknowledgements.IsComplete) return false;
            var bytes = 0L;
            foreach (var cursor in reader.AdmitCursors())
            {
                if (cursor.IsTransient) continue;
                if (cursor.HasMissed || cursor.Bookmark is { IsLost: true }) return false;
                bytes += cursor.Bookmark?.BytesToNewest(cursor) ?? 0;
            }

            return acknowledgements.IsWithinLimit(bytes);
        }
    }

    /// <summary>
    /// Records that the client has received every message up to a sequence number. Returns false if the reader never
    /// sent this number.
    /// </summary>
    public bool TryAcknowledge(long sequence)
    {
        if (sequence > acknowledgements.Highest) return false;
        acknowledgements.OnAcknowledged(sequence);
        MoveBookmarks();
        if (!acknowledgements.IsTracking) TryStart();
        return true;
    }

    /// <summary>Releases messages that the client does not need again.</summary>
    public void MoveBookmarks()
    {
        if (!acknowledgements.CanTrack) return;
        var cursors = reader.AdmitCursors();
        if (acknowledgements.IsTracking) MoveBookmarks(cursors);
        // A client without unacknowledged messages sends no acknowledgement. So restart the tracking here.
        if (!acknowledgements.IsTracking && acknowledgements.IsUpToDate) TryStart();
    }

    /// <summary>
    /// Rewinds all cursors to the unacknowledged messages. Returns false if some of these messages are no longer
    /// available.
    /// </summary>
    public bool TryRewind()
    {
        if (!CanRewind) return false;
        foreach (var cursor in reader.AdmitCursors())
        {
            if (cursor.IsTransient)
            {
                // The client does not receive transient messages that were published while the client had no transport.
                cursor.SkipToEnd();
                continue;
            }

            // The log may release a bookmark after the check. The connection then ends, so the rewound cursors have no
            // effect.
            if (!cursor.TryRewind()) return false;
            cursor.Bookmark!.Advance(cursor, acknowledgements.Acknowledged);
        }

        acknowledgements.Rewind();
        return true;
    }

    /// <summary>
    /// Stops tracking. The client stays connected, but can reconnect only after an acknowledgement of every message.
    /// </summary>
    public void Stop()
    {
        acknowledgements.StopTracking();
        foreach (var cursor in reader.Cursors) cursor.Bookmark?.Clear();
    }

    /// <summary>
    /// Stops tracking if the client has too many logs. Without tracking, this method clears the bookmark of the new
    /// cursor. The reader calls this method before adding a cursor.
    /// </summary>
    public void OnAdding(Cursor cursor)
    {
        if (cursor.IsTransient) return;
        if (acknowledgements.IsTracking && CountLogs() >= acknowledgements.MaxLogs) Stop();
        if (!acknowledgements.IsTracking) cursor.Bookmark?.Clear();
    }

    /// <summary>
    /// Stops tracking if the client has too many unacknowledged messages or bytes. The reader calls this method after
    /// taking entries.
    /// </summary>
    public void OnTaken()
    {
        if (acknowledgements is { IsTracking: true, ExceedsLimit: true }) Stop();
    }

    void TryStart()
    {
        if (!acknowledgements.CanTrack) return;
        foreach (var cursor in reader.Cursors)
        {
            if (cursor.IsTransient || cursor.TrySetBookmark()) continue;
            Stop();
            return;
        }

        acknowledgements.StartTracking();
    }

    /// <summary>Returns the number of logs without the logs of transient messages.</summary>
    int CountLogs()
    {
        var cursors = reader.Cursors;
        // Most clients are in few groups. Below the maximum, the caller needs no exact number.
        if (cursors.Length < acknowledgements.MaxLogs) return cursors.Length;
        var count = 0;
        foreach (var cursor in cursors)
        {
            if (!cursor.IsTransient) count++;
        }

        return count;
    }

    void MoveBookmarks(ReadOnlySpan<Cursor> cursors)
    {
        var (messages, bytes) = (0L, 0L);
        for (var i = cursors.Length - 1; i >= 0; i--)
        {
            var cursor = cursors[i];
            if (cursor.Bookmark is not { } bookmark) continue;
            bookmark.Advance(cursor, acknowledgements.Acknowledged);
            if (bookmark.IsLost)
            {
                Stop();
                return;
            }

            messages += bookmark.CountTo(cursor);
            bytes += bookmark.BytesTo(cursor);
            if (cursor.HasLeft) reader.RemoveUnlessNeeded(i);
        }

        acknowledgements.SetUnacknowledged(messages, bytes);
    }
}
