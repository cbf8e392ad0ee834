namespace Broadcast.Middleware;

/// <summary>
/// An append-only chain of blocks that holds the last bytes, as many as its settings say, for readers that are behind.
/// It has no readers' list, holds on to nothing but its newest block, its history and what readers have marked, and never waits.
/// </summary>
/// <remarks>
/// A reader holds the block it stands on and, through the links, all after it. That alone would let one stalled reader keep
/// everything ever published, so when the chain grows past the capacity the log cuts the links of its oldest blocks. It finds
/// them by weak references: where nobody lags, blocks go as soon as the last reader has passed them.
/// </remarks>
/// <param name="clock">Numbers the messages.</param>
/// <param name="settings">Its limits.</param>
/// <param name="history">What is kept for those who join later.</param>
/// <param name="firstOffset">The first message's.</param>
sealed class MessageLog(SequenceClock clock, LogSettings settings, History? history = null, long firstOffset = 1)
{
    const int SmallestBlock = 512;
    const int LargestBlock = 64 * 1024; // Below the large object heap's threshold, and a good size for one write.

    const int MostEntries = LargestBlock / Block.EntrySize; // The index of tiny messages is no larger than the largest block.

    readonly long _capacity = settings.Capacity + Frame.MaxHeaderSize + Block.EntrySize; // So that a message of that size fits.
    readonly Queue<(WeakReference<Block> Block, long LastByte)> _behind = new();
    Block _tail = new(0, firstOffset, 0);
    Retention? _retention;
    long _offsetAtLastRest;
    long _newestByte;
    bool _hasBrokenOff;

    /// <summary>Held to append, and to take a position that no append may slip past. Never held while anything waits.</summary>
    public Lock Gate { get; } = new();

    /// <summary>The offset the next message will have; the first has 1.</summary>
    public long NextOffset
    {
        get
        {
            var tail = Volatile.Read(ref _tail);
            return tail.FirstOffset + tail.Count;
        }
    }

    /// <summary>How many bytes had been appended when the newest message came: what a reader should have taken by now.</summary>
    public long NewestByte => Volatile.Read(ref _newestByte);

    /// <summary>How many bytes have been appended. Read it under <see cref="Gate"/>.</summary>
    public long EndByte => _tail.FirstByte + _tail.CostOf(_tail.Count);

    /// <summary>The end of the log: the newest block and how many messages stand in it. Read it under <see cref="Gate"/>.</summary>
    public (Block Block, int Index) End => (_tail, _tail.Count);

    public SlowConsumer WhenSlow => settings.WhenSlow;

    /// <summary>The group's name; null for everyone's and for a private lane.</summary>
    public string? Name { get; init; }

    /// <summary>Names one life of the log; 0 where nobody can come back to it.</summary>
    public ulong Epoch { get; init; }

    /// <summary>
    /// Where a reader starts that is to be given what <paramref name="replay"/> says; <paramref name="recovered"/> tells whether it
    /// has everything after the position it asked for. Call it under <see cref="Gate"/>.
    /// </summary>
    public (Block Block, int Index) Find(Replay replay, out bool? recovered)
    {
        recovered = null;
        var oldest = history?.Oldest ?? 0;
        if (replay.AfterPosition is { } after)
        {
            var (block, index) = history?.Find(_tail, 0, oldest) ?? End;
            recovered = after.Epoch == Epoch && after.Offset < NextOffset && after.Offset >= block.FirstOffset + index - 1;
            if (recovered is true) return history?.Find(_tail, after.Offset + 1, oldest) ?? End;
        }

        var messages = replay.MessagesOr(history?.ReplayOnJoin ?? 0);
        return messages > 0 && history is not null ? history.Find(_tail, NextOffset - messages, oldest) : End;
    }

    /// <summary>Lets the history go that is too old. True if none is left. Call it under <see cref="Gate"/>.</summary>
    public bool Expire() => history?.Expire(_tail) ?? true;

    /// <summary>Appends one message and returns its offset. Call it under <see cref="Gate"/>.</summary>
    public long Append(Message message, Exclusions? exclusions) => Append(message, exclusions, clock.Next());

    /// <summary>The same for a message that was published a while ago.</summary>
    public long Append(Message message, Exclusions? exclusions, TimeSpan age) => Append(message, exclusions, clock.Next(), age);

    /// <summary>The same with a number that several logs share, whose gates the caller holds.</summary>
    public long Append(Message message, Exclusions? exclusions, long sequence, TimeSpan age = default)
    {
        var size = Frame.Size(message.Payload.Length);
        if (_tail.Capacity - _tail.Length < size || _tail.Count == MostEntries) Grow(Math.Max(size, Math.Clamp(Math.Min(_tail.Capacity, LargestBlock) * 2, SmallestBlock, LargestBlock)));
        Volatile.Write(ref _newestByte, _tail.FirstByte + _tail.CostOf(_tail.Count));
        _tail.Append(message, sequence, history?.At(age) ?? clock.Timestamp, exclusions);
        history?.OnAppended(_tail);
        return NextOffset - 1;
    }

    /// <summary>
    /// Called now and then: a log that had nothing to do since the last call ends its newest block, which is freed when its readers
    /// have moved on. True if there is such a block and readers should be told. Call it under <see cref="Gate"/>.
    /// </summary>
    public bool Rest()
    {
        var hasBeenIdle = NextOffset == _offsetAtLastRest;
        _offsetAtLastRest = NextOffset;
        if (!hasBeenIdle || _tail.Capacity == 0) return false;
        Grow(0);
        return true;
    }

    /// <summary>What would come next is lost: whoever has read everything else finds that out. Nothing is appended any more. Call it under <see cref="Gate"/>.</summary>
    public void Break()
    {
        _tail.Link(Block.Lost);
        Volatile.Write(ref _hasBrokenOff, true);
    }

    /// <summary>Whether it has.</summary>
    public bool HasBrokenOff => Volatile.Read(ref _hasBrokenOff);

    /// <summary>Ends the newest block if all of it has been read by the only reader, and it is more than a small one. Call it under <see cref="Gate"/>.</summary>
    public void Trim(Block block, int index)
    {
        if (block == _tail && index == block.Count && block.Capacity > SmallestBlock) Grow(0);
    }

    /// <summary>Keeps what stands from this block on, for a reader that may have to be sent it again. Call it under <see cref="Gate"/>.</summary>
    public Retention.Pin Pin(Block block) =>
        (_retention ??= new(settings.MaxRetained, settings.Budget ?? new(settings.MaxRetained))).Add(block, EndByte);

    /// <summary>Undoes <see cref="Pin"/>. Call it under <see cref="Gate"/>.</summary>
    public void Unpin(Retention.Pin pin) => _retention!.Remove(pin, EndByte);

    void Grow(int capacityOfNext)
    {
        var full = _tail;
        var lastByte = full.FirstByte + full.CostOf(full.Count);
        _tail = new Block(capacityOfNext, full.FirstOffset + full.Count, lastByte);
        full.Link(_tail);
        _behind.Enqueue((new(full), lastByte));
        _retention?.OnGrown(lastByte);
        // Nobody can stand before a block that nobody can reach, so the dead ones are the oldest.
        while (_behind.TryPeek(out var oldest))
        {
            var alive = oldest.Block.TryGetTarget(out var block);
            if (alive && (lastByte - oldest.LastByte <= _capacity || _retention?.Holds(block!, oldest.LastByte) is true)) break;
            if (alive) block!.Link(Block.Cut);
            _behind.Dequeue();
        }
    }
}
