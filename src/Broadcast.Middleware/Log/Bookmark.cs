namespace Broadcast.Middleware;

/// <summary>Where the oldest message stands in a log that a reader may have to be sent again. Used by the reader's pump alone.</summary>
sealed class Bookmark
{
    readonly MessageLog _log;
    Retention.Pin? _pin;

    /// <summary>The caller holds the log's gate.</summary>
    public Bookmark(MessageLog log, Block block, int index)
    {
        (_log, Index) = (log, index);
        _pin = log.Pin(block);
    }

    /// <summary>Null if it is no longer kept.</summary>
    public Block? Block => _pin?.Block;

    public int Index { get; private set; }

    public void MoveTo(Block block, int index)
    {
        Index = index;
        if (_pin is null || _pin.Block == block) return;
        lock (_log.Gate)
        {
            // It may have been given up in the meantime, and is not to seem kept again.
            if (_pin.Block is null) return;
            var left = _pin;
            _pin = _log.Pin(block);
            _log.Unpin(left);
        }
    }

    public void Release()
    {
        if (_pin is null) return;
        lock (_log.Gate) _log.Unpin(_pin);
        _pin = null;
    }
}
