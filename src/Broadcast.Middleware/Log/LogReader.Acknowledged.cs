namespace Broadcast.Middleware;

/// <content>For a client that acknowledges what it has, and can come back for the rest.</content>
sealed partial class LogReader
{
    /// <summary>Whether everything that the client has not acknowledged can be sent again.</summary>
    public bool CanRewind
    {
        get
        {
            if (acknowledgements is not { IsComplete: true }) return false;
            Admit();
            var kept = 0L;
            foreach (var cursor in _cursors.AsSpan(0, _count))
            {
                if (cursor.HasMissed || cursor.IsBookmarkLost) return false;
                kept += cursor.Kept;
            }

            return acknowledgements.MayWait(kept);
        }
    }

    /// <summary>The client has everything up to a number. False if it has not even been sent that.</summary>
    public bool TryAcknowledge(long sequence)
    {
        if (sequence > acknowledgements!.Highest) return false;
        acknowledgements.OnAcknowledged(sequence);
        MoveBookmarks();
        if (!acknowledgements.IsKept && acknowledgements.CanKeep && TryMarkAll()) acknowledgements.Keep();
        return true;
    }

    /// <summary>Lets go of what need not be sent again.</summary>
    public void MoveBookmarks()
    {
        if (acknowledgements is not { CanKeep: true }) return;
        Admit();
        if (acknowledgements.IsKept) MoveAll();
        // Who publishes much that is not for itself loses its place in a log that keeps no more, and has nothing to acknowledge.
        if (acknowledgements is { IsKept: false, OwesNothing: true } && TryMarkAll()) acknowledgements.Keep();
    }

    void MoveAll()
    {
        var (messages, bytes) = (0L, 0L);
        for (var i = _count - 1; i >= 0; i--)
        {
            var cursor = _cursors[i];
            cursor.MoveBookmark(acknowledgements!.Newest);
            if (cursor.IsBookmarkLost)
            {
                Lose();
                return;
            }

            messages += cursor.Unacknowledged;
            bytes += cursor.UnacknowledgedBytes;
            if (cursor.HasLeft) RemoveUnlessAwaited(i);
        }

        (acknowledgements!.Messages, acknowledgements.Bytes) = (messages, bytes);
    }

    /// <summary>Goes back to where the client has everything. False if that is not possible, and then nothing has changed.</summary>
    public bool TryRewind()
    {
        if (!CanRewind) return false;
        foreach (var cursor in _cursors.AsSpan(0, _count))
        {
            // Given up since it was looked at: what has been rewound before only sends again what the client drops.
            if (!cursor.TryRewind()) return false;
            cursor.MoveBookmark(acknowledgements!.Newest);
        }

        acknowledgements!.Rewind();
        HasMissed = false;
        return true;
    }

    /// <summary>Too much waits for an acknowledgement: until one comes, the client goes on, but cannot come back.</summary>
    void Lose()
    {
        acknowledgements!.Lose();
        foreach (var cursor in _cursors.AsSpan(0, _count)) cursor.Forget();
    }

    bool TryMarkAll()
    {
        foreach (var cursor in _cursors.AsSpan(0, _count))
        {
            if (cursor.TryMark()) continue;
            Lose();
            return false;
        }

        return true;
    }

    void RemoveUnlessAwaited(int index)
    {
        if (!_cursors[index].IsAwaited) RemoveAt(index);
    }

    void TrimLane()
    {
        if (_lane is null) return;
        if (acknowledgements is not { IsKept: true })
        {
            _lane.Trim();
            return;
        }

        _lane.MoveBookmark(acknowledgements.Newest);
        if (_lane.Unacknowledged > 0) return;
        _lane.Trim();
        _lane.MoveBookmark(acknowledgements.Newest);
    }
}
