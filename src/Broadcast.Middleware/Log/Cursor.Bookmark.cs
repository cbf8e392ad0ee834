namespace Broadcast.Middleware;

/// <content>For a reader that acknowledges: a second position, of what it may have to be sent again, which trails the first.</content>
sealed partial class Cursor
{
    /// <summary>The log has given up what this reader may have to be sent again.</summary>
    public bool IsBookmarkLost => _options?.Bookmark is { Block: null };

    /// <summary>It has left, and may still have to be sent again what came before.</summary>
    public bool IsAwaited => _options?.Bookmark is { Block: { } block } bookmark && block.FirstOffset + bookmark.Index < Math.Min(ReadOffset, LeaveAt);

    /// <summary>How many messages it has read from the bookmark on.</summary>
    public long Unacknowledged => _options?.Bookmark is { Block: { } block } bookmark ? Math.Max(0, ReadOffset - (block.FirstOffset + bookmark.Index)) : 0;

    /// <summary>How many bytes that is.</summary>
    public long UnacknowledgedBytes => _options?.Bookmark is { Block: { } block } bookmark
        ? Math.Max(0, _block.FirstByte + _block.CostOf(_index) - (block.FirstByte + block.CostOf(bookmark.Index)))
        : 0;

    /// <summary>How many bytes there are from the bookmark to the log's end, not counting the newest message.</summary>
    public long Kept => _options?.Bookmark is { Block: { } block } bookmark
        ? Math.Max(0, Math.Min(_log.NewestByte, Volatile.Read(ref _leave)?.Byte ?? long.MaxValue) - (block.FirstByte + block.CostOf(bookmark.Index)))
        : 0;

    // The next message's in the log, of which a block of its own is no part.
    long ReadOffset => !_block.IsOwn ? Offset : _index < _block.Count ? _block.OffsetOf(_index) : _block.Next!.FirstOffset + _block.NextIndex;

    /// <summary>
    /// Moves the bookmark over what has been sent and is acknowledged by now, and over what is not sent again: messages for others, and
    /// answers, which the client does not wait for on another line. What was sent on a line before, and turns out to have arrived, is passed
    /// over by the cursor too.
    /// </summary>
    public void MoveBookmark(long acknowledged)
    {
        if (_options?.Bookmark is not { Block: { } block } bookmark) return;
        var index = bookmark.Index;
        var sent = _block.IsOwn ? ReadOffset : Math.Max(Offset, _options.SentBefore);
        while (true)
        {
            var next = block.Next;
            var count = block.Count;
            var end = (int)Math.Min(count, sent - block.FirstOffset);
            index = FirstAfter(block, acknowledged, index, end);
            if (block.HasExclusions)
            {
                while (index < end && block[index].Exclusions is { } facts && (facts.IsVerbatim || facts.Contains(Writer.ConnectionId))) index++;
            }

            if (index < count || next is null || next.IsGap || sent < next.FirstOffset) break;
            (block, index) = (next, 0);
        }

        // Not only past it, also into the next block: nothing holds on to the one before the bookmark's.
        if (!_block.IsOwn && block.FirstOffset + index >= Offset) (_block, _index) = (block, index);
        bookmark.MoveTo(block, index);
    }

    static int FirstAfter(Block block, long sequence, int low, int high)
    {
        while (low < high)
        {
            var middle = (low + high) / 2;
            if (block[middle].Sequence > sequence) high = middle;
            else low = middle + 1;
        }

        return low;
    }

    /// <summary>Lays the bookmark where the cursor stands. False if that is in a block of its own, which will pass.</summary>
    public bool TryMark()
    {
        if (_options is null) return false;
        TryPeek(out _);
        if (_block.IsOwn || _block.IsGap) return false;
        lock (_log.Gate)
        {
            // What follows is gone.
            if (_block.Next is { IsGap: true }) return false;
            _options.Bookmark = new Bookmark(_log, _block, _index);
        }

        return true;
    }

    /// <summary>Nothing is sent again.</summary>
    public void Forget()
    {
        if (_options?.Bookmark is not { } bookmark) return;
        bookmark.Release();
        _options.Bookmark = null;
    }

    /// <summary>Goes back to the bookmark. False if the log has given it up.</summary>
    public bool TryRewind()
    {
        if (_options?.Bookmark is not { Block: { } block } bookmark) return false;
        _options.SentBefore = Math.Max(_options.SentBefore, ReadOffset);
        lock (_log.Gate) (_options.ResentBefore, _options.LiveByte) = (_log.NextOffset, _log.EndByte);
        (_block, _index) = (block, bookmark.Index);
        HasMissed = false;
        return true;
    }
}
