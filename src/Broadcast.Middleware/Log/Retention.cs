namespace Broadcast.Middleware;

/// <summary>
/// What a log keeps beyond its capacity because readers may have to be sent it again: everything from the oldest block on which one of
/// their bookmarks lies. Guarded by the log's gate.
/// </summary>
/// <remarks>A block counts its bookmarks, so that a thousand readers at much the same place cost as little as one.</remarks>
/// <param name="most">How many bytes one log may keep so.</param>
/// <param name="budget">How many all of them may.</param>
sealed class Retention(long most, RetentionBudget budget)
{
    // What a log may always keep: the block that is being filled, and the one before. It holds them anyway.
    const long Least = 128 * 1024;

    Block? _first;
    long _charged;

    /// <summary>Whether a block may not be cut off from its successor. One without messages ends where it begins.</summary>
    public bool Holds(Block block, long lastByte) => _first is not null && (block == _first || lastByte > _first.FirstByte);

    public Pin Add(Block block, long endByte)
    {
        var pin = block.Pin ??= new Pin(block);
        pin.Count++;
        // One without messages has its successor's offset.
        if (_first is null || block.FirstOffset < _first.FirstOffset || block.Next == _first) _first = block;
        Charge(endByte);
        return pin;
    }

    public void Remove(Pin pin, long endByte)
    {
        if (pin.Block is not { } block || --pin.Count > 0) return;
        block.Pin = null;
        if (block == _first) MoveOn();
        Charge(endByte);
    }

    /// <summary>Gives up what is too much, the oldest first.</summary>
    public void OnGrown(long endByte)
    {
        Charge(endByte);
        while (_first is not null && endByte - _first.FirstByte > (budget.IsExceeded ? Math.Min(most, Least) : most))
        {
            _first.Pin!.Block = null;
            _first.Pin = null;
            MoveOn();
            Charge(endByte);
        }
    }

    void MoveOn()
    {
        do _first = _first!.Next;
        while (_first is { Pin: null });
    }

    void Charge(long endByte)
    {
        var kept = _first is null ? 0 : endByte - _first.FirstByte;
        budget.Change(kept - _charged);
        _charged = kept;
    }

    /// <summary>That bookmarks lie on a block.</summary>
    public sealed class Pin(Block block)
    {
        Block? _block = block;

        /// <summary>Null if the log has given it up.</summary>
        public Block? Block
        {
            get => Volatile.Read(ref _block);
            set => Volatile.Write(ref _block, value);
        }

        public int Count { get; set; }
    }
}

/// <summary>What the logs of a broadcast keep, all together, for readers that may have to be sent it again.</summary>
/// <param name="most">How many bytes that may be.</param>
sealed class RetentionBudget(long most)
{
    long _used;

    public long Used => Volatile.Read(ref _used);

    public bool IsExceeded => Used > most;

    public void Change(long by)
    {
        if (by != 0) Interlocked.Add(ref _used, by);
    }
}
