using System.Diagnostics;

namespace Broadcast.Middleware.Logs;

/// <summary>
/// A position at or before the position of a cursor: the oldest message that the client has not acknowledged. The log
/// keeps this message and every later message. Only the thread of the subscriber uses this class.
/// </summary>
sealed class Bookmark(MessageLog log)
{
    Retention.Pin? _pin;
    Block? _retained; // Not null if the bookmark is in a retained block. The pin is then at the next block.

    /// <summary>The block of the bookmark. Null if the bookmark is not set or the log has released the block.</summary>
    public Block? Block => _pin?.Block is { } pinned ? _retained ?? pinned : null;

    public int Index { get; private set; }

    /// <summary>True if the log has released messages that the client may need again.</summary>
    public bool IsLost => _pin is { Block: null };

    /// <summary>The offset after the last message that the server sent on an earlier transport.</summary>
    public long SentBefore { get; private set; }

    /// <summary>
    /// The value of <see cref="MessageLog.NextOffset"/> at the last rewind. The reader does not send answers and
    /// transient messages with a lower offset again.
    /// </summary>
    public long SentOnceBefore { get; private set; }

    /// <summary>Sets the bookmark. The caller holds the lock of the log.</summary>
    public void SetLocked(Block block, int index)
    {
        Debug.Assert(_pin is null);
        Index = index;
        _retained = block.IsRetained ? block : null;
        _pin = log.PinLocked(FindLogBlock(block));
    }

    /// <summary>
    /// Returns the block of the log: the next block for a retained block, and otherwise the block itself.
    /// </summary>
    public static Block FindLogBlock(Block block) => block.IsRetained ? block.Next! : block;

    /// <summary>
    /// True if the cursor must stay after its subscriber has left, because the client may need unacknowledged messages
    /// again.
    /// </summary>
    public bool IsNeededAfterLeave(Cursor cursor) =>
        Block is { } block && block.FirstOffset + Index < Math.Min(cursor.LogOffset, cursor.LeaveOffset);

    /// <summary>The number of messages between the bookmark and the cursor.</summary>
    public long CountTo(Cursor cursor) =>
        Block is { } block ? Math.Max(0, cursor.LogOffset - (block.FirstOffset + Index)) : 0;

    /// <summary>The number of bytes between the bookmark and the cursor.</summary>
    public long BytesTo(Cursor cursor) =>
        Block is { } block ? Math.Max(0, cursor.ReadByte - (block.FirstByte + block.CostOf(Index))) : 0;

    /// <summary>The number of bytes between the bookmark and the newest message that the cursor will read.</summary>
    public long BytesToNewest(Cursor cursor) => Block is { } block
        ? Math.Max(0, Math.Min(log.NewestByte, cursor.LeaveByte) - (block.FirstByte + block.CostOf(Index)))
        : 0;

    /// <summary>
    /// Moves the bookmark past entries that the client does not need again: acknowledged entries, excluded or rejected
    /// entries, answers and transient messages. After a rewind, the cursor moves with the bookmark, so that the reader
    /// does not send acknowledged messages again.
    /// </summary>
    public void Advance(Cursor cursor, long acknowledged)
    {
        if (Block is not { } block) return;
        var index = Index;
        var sent = cursor.Block.IsCompacted ? cursor.LogOffset : Math.Max(cursor.Offset, SentBefore);
        while (true)
        {
            var next = block.Next;
            var count = block.Count;
            var end = (int)Math.Min(count, sent - block.FirstOffset);
            index = FindAfter(block, acknowledged, index, end);
            if (block.HasMetadata || cursor.HasFilter) index = SkipUnneeded(block, index, end, cursor);
            if (index < count || next is null || next.IsGap || sent < next.FirstOffset) break;
            (block, index) = (next, block.NextIndex);
        }

        // If the bookmark has reached the cursor, also move the cursor. The cursor then enters the next block and
        // releases the previous block.
        if (!cursor.Block.IsCompacted && block.FirstOffset + index >= cursor.Offset) cursor.MoveTo(block, index);
        MoveTo(block, index);
    }

    /// <summary>Records that the cursor goes back to the bookmark.</summary>
    /// <param name="sentBefore">The offset up to which the cursor has read.</param>
    /// <param name="nextOffset">The offset of the next message of the log.</param>
    public void OnRewind(long sentBefore, long nextOffset)
    {
        SentBefore = Math.Max(SentBefore, sentBefore);
        SentOnceBefore = nextOffset;
    }

    /// <summary>Removes the bookmark. The log may then release the unacknowledged messages.</summary>
    public void Clear()
    {
        if (_pin is null) return;
        lock (log.Gate) log.UnpinLocked(_pin);
        (_pin, _retained) = (null, null);
    }

    void MoveTo(Block block, int index)
    {
        Index = index;
        if (block.IsRetained) return;
        _retained = null;
        if (_pin is null || _pin.Block == block) return;
        lock (log.Gate)
        {
            // The log may have released the block in the meantime. A new pin would hide the loss.
            if (_pin.Block is null) return;
            var old = _pin;
            _pin = log.PinLocked(block);
            log.UnpinLocked(old);
        }
    }

    static int SkipUnneeded(Block block, int index, int end, Cursor cursor)
    {
        while (index < end && (block[index].Metadata is { IsSentOnce: true } || cursor.IsExcluded(block, index)))
            index++;
        return index;
    }

    /// <summary>Finds the first entry whose sequence number is higher than <paramref name="sequence"/>.</summary>
    static int FindAfter(Block block, long sequence, int low, int high)
    {
        while (low < high)
        {
            var middle = (low + high) / 2;
            if (block[middle].Sequence > sequence) high = middle;
            else low = middle + 1;
        }

        return low;
    }
}
