namespace Broadcast.Middleware.Logs;

/// <summary>
/// The options of a cursor. A cursor without options starts at the end of its log and reads WebSocket frames. Each
/// cursor has its own options object, because the object has state.
/// </summary>
sealed class CursorOptions
{
    bool _isOpeningTaken;

    /// <summary>The format of the reader. Null for the WebSocket frames of the log.</summary>
    public EntryEncoder? Encoder { get; init; }

    /// <summary>The first entry to read: its block and its index. Null for the end of the log.</summary>
    public (Block Block, int Index)? Start { get; set; }

    /// <summary>The offset of the first message that the cursor reads after the retained values.</summary>
    public long FirstOffset { get; init; }

    /// <summary>The offset of the first message after the join. Earlier messages are history.</summary>
    public long LiveOffset { get; init; }

    /// <summary>
    /// The size of the log in bytes at the join or at the last rewind. Unread bytes below this value do not count as
    /// backlog.
    /// </summary>
    public long LiveByte { get; set; }

    /// <summary>
    /// Marks the first message that the cursor may have to read again. Null if the client does not acknowledge
    /// messages.
    /// </summary>
    public Bookmark? Bookmark { get; init; }

    /// <summary>Selects the entries that the reader receives. Null if the reader receives every entry.</summary>
    public CursorFilter? Filter { get; init; }

    /// <summary>Bytes to send before the first message.</summary>
    public ReadOnlyMemory<byte> Opening { get; init; }

    /// <summary>
    /// True if the client needs <see cref="Opening"/> even if the subscriber leaves before the reader's first turn.
    /// </summary>
    public bool KeepsOpeningAfterLeave { get; set; }

    /// <summary>True if the reader has not taken <see cref="Opening"/> yet.</summary>
    public bool HasOpening => !_isOpeningTaken && !Opening.IsEmpty;

    /// <summary>True if the reader must keep the cursor after a leave, until it has taken the opening.</summary>
    public bool NeedsOpening => KeepsOpeningAfterLeave && HasOpening;

    /// <summary>Returns <see cref="Opening"/>. Call this method only once.</summary>
    public ReadOnlyMemory<byte> TakeOpening()
    {
        _isOpeningTaken = true;
        return Opening;
    }
}
