namespace Broadcast.Middleware.Logs;

/// <summary>
/// Keeps blocks beyond the capacity of a log, because readers may need these blocks again. This class keeps the oldest
/// block with a bookmark and every later block. The lock of the log guards this class.
/// </summary>
/// <remarks>
/// Each block counts its bookmarks. So a thousand bookmarks in one block cost as little as one bookmark.
/// </remarks>
/// <param name="maxBytes">The maximum number of bytes for this log.</param>
/// <param name="budget">The limit for all logs of the broadcast together.</param>
sealed class Retention(long maxBytes, RetentionBudget budget)
{
    // The maximum size of the newest block and the previous block together. The log may always retain these two blocks,
    // even if all logs together exceed the budget.
    const long MinBytes = 128 * 1024;

    Block? _first;
    long _charged;

    /// <summary>
    /// True if the link from this block to its successor must stay. An empty block ends at its first byte. So also
    /// compare the block with the first pinned block.
    /// </summary>
    public bool Holds(Block block, long lastByte) =>
        _first is not null && (block == _first || lastByte > _first.FirstByte);

    public Pin Add(Block block, long endByte)
    {
        var pin = block.Pin ??= new Pin(block);
        pin.Count++;
        // An empty block has the same offset as its successor. So also check the successor.
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

    /// <summary>Releases the oldest pinned blocks until the log is within the limits.</summary>
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

        /// <summary>The pinned block. Null after the log has released the block.</summary>
        public Block? Block
        {
            get => Volatile.Read(ref _block);
            set => Volatile.Write(ref _block, value);
        }

        public int Count { get; set; }
    }
}
