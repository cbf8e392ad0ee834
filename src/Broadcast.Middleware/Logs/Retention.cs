namespace Broadcast.Middleware.Logs;

/// <summary>
/// Keeps blocks beyond the capacity of a log, because readers may need them again. It keeps every block from the oldest
/// block with a bookmark on. The lock of the log guards this class.
/// </summary>
/// <remarks>
/// A block counts its bookmarks. A thousand readers near the same position cost as little as one reader.
/// </remarks>
/// <param name="maxBytes">The maximum number of bytes for this log.</param>
/// <param name="budget">The limit for all logs of the broadcast together.</param>
sealed class Retention(long maxBytes, RetentionBudget budget)
{
    // The log always holds the block that it fills and the previous block. Retaining these two blocks is always
    // allowed.
    const long MinBytes = 128 * 1024;

    Block? _first;
    long _charged;

    /// <summary>
    /// True if the link from this block to its successor must stay. The comparison with the first block covers a block
    /// without messages, which ends where it begins.
    /// </summary>
    public bool Holds(Block block, long lastByte) =>
        _first is not null && (block == _first || lastByte > _first.FirstByte);

    public Pin Add(Block block, long endByte)
    {
        var pin = block.Pin ??= new Pin(block);
        pin.Count++;
        // A block without messages has the same offset as its successor.
        if (_first is null || block.FirstOffset < _first.FirstOffset || block.Next == _first) _first = block;
        Charge(endByte);
        return pin;
    }

    public void Remove(Pin pin, long endByte)
    {
        if (pin.Block is not { } block || --pin.Count > 0) return;
        block.Pin = null;
        if (block == _first) MoveToNextPin();
        Charge(endByte);
    }

    /// <summary>Releases the oldest pinned blocks until the limits hold.</summary>
    public void OnGrown(long endByte)
    {
        Charge(endByte);
        while (_first is not null && endByte - _first.FirstByte > Limit)
        {
            _first.Pin!.Block = null;
            _first.Pin = null;
            MoveToNextPin();
            Charge(endByte);
        }
    }

    long Limit => budget.IsExceeded ? Math.Min(maxBytes, MinBytes) : maxBytes;

    void MoveToNextPin()
    {
        do _first = _first!.Next;
        while (_first is { Pin: null });
    }

    void Charge(long endByte)
    {
        var retained = _first is null ? 0 : endByte - _first.FirstByte;
        budget.Change(retained - _charged);
        _charged = retained;
    }

    /// <summary>Marks a block that has bookmarks.</summary>
    public sealed class Pin(Block block)
    {
        Block? _block = block;

        /// <summary>Null after the log has released the block.</summary>
        public Block? Block
        {
            get => Volatile.Read(ref _block);
            set => Volatile.Write(ref _block, value);
        }

        public int Count { get; set; }
    }
}
