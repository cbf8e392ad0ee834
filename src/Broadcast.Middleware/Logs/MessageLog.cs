using System.Diagnostics;

namespace Broadcast.Middleware.Logs;

/// <summary>
/// An append-only chain of blocks. The log keeps the newest bytes for slow readers, up to the capacity of its settings.
/// The log has no list of readers and never waits for a reader.
/// </summary>
/// <remarks>
/// A reader references its current block and, through the links, every later block. One stalled reader could therefore
/// keep every message in memory. So the log cuts the links of its oldest blocks when the chain exceeds the capacity.
/// The log finds its oldest blocks through weak references. Without slow readers, the garbage collector frees a block
/// as soon as the last reader has passed the block.
/// </remarks>
/// <param name="clock">Assigns sequence numbers to messages.</param>
/// <param name="settings">The limits.</param>
/// <param name="history">Keeps messages for later readers. Null for no history.</param>
/// <param name="firstOffset">The offset of the first message.</param>
/// <param name="retained">Keeps the newest message of each key. Null if the log does not retain messages.</param>
sealed class MessageLog(
    SequenceClock clock,
    LogSettings settings,
    LogHistory? history = null,
    long firstOffset = 1,
    RetainedValues? retained = null)
{
    const int MinBlockSize = 512;

    // This size is below the threshold of the large object heap. A block of this size is large enough for an efficient
    // write.
    const int MaxBlockSize = 64 * 1024;

    // With this limit, the index of a block with tiny messages is not larger than the data of the largest block.
    const int MaxEntries = MaxBlockSize / Block.EntrySize;

    readonly Queue<(WeakReference<Block> Block, long LastByte)> _olderBlocks = new();
    WeakReference<Block>? _gap;
    Block _tail = new(0, firstOffset, 0);
    Retention? _retention;
    TransientLog? _transient;
    long _offsetAtLastTrim;
    long _newestByte;
    bool _isBroken;
    bool _isAppending;
    bool _linksGap = settings.WhenSlow == SlowConsumer.SkipToLatest;

    /// <summary>
    /// The lock of the log. A thread holds the lock to append, or to read a position without missing a concurrent
    /// append. Invariant: code that holds this lock does not wait.
    /// </summary>
    public Lock Gate { get; private init; } = new();

    /// <summary>The offset of the next message. The first message of a new group has offset 1.</summary>
    public long NextOffset
    {
        get
        {
            var tail = Volatile.Read(ref _tail);
            return tail.FirstOffset + tail.Count;
        }
    }

    /// <summary>
    /// The size of the log in bytes before its newest message. A fast reader has read at least these bytes.
    /// </summary>
    public long NewestByte => Volatile.Read(ref _newestByte);

    /// <summary>The size of the log in bytes. The caller holds <see cref="Gate"/>.</summary>
    public long EndByte => _tail.FirstByte + _tail.CostOf(_tail.Count);

    /// <summary>
    /// The end of the log: its newest block and the number of entries in this block. The caller holds
    /// <see cref="Gate"/>.
    /// </summary>
    public (Block Block, int Index) End => (_tail, _tail.Count);

    /// <summary>See <see cref="LogSettings.WhenSlow"/>.</summary>
    public SlowConsumer? WhenSlow => settings.WhenSlow;

    /// <summary>The name of the group. Null for the group of all connections and for a private log.</summary>
    public string? Name { get; init; }

    /// <summary>
    /// Identifies one lifetime of the log: see <see cref="Position.Epoch"/>. 0 if no reader can ask for a position.
    /// </summary>
    public ulong Epoch { get; init; }

    /// <summary>True if the messages of this log are transient: see <see cref="TransientLog"/>.</summary>
    public bool IsTransient { get; private init; }

    /// <summary>
    /// The log of the transient messages of the same group. Null until the group has its first transient message.
    /// </summary>
    public TransientLog? Transient => Volatile.Read(ref _transient);

    /// <summary>True after <see cref="BreakLocked"/>. The log appends no more messages.</summary>
    public bool IsBroken => Volatile.Read(ref _isBroken);

    /// <summary>
    /// True while a thread appends a message. The message may already have its sequence number, but readers cannot find
    /// the message yet.
    /// </summary>
    public bool IsAppending => Volatile.Read(ref _isAppending);

    /// <summary>Returns the log of the transient messages. Creates the log if necessary.</summary>
    /// <param name="members">The number of members of the group.</param>
    /// <param name="epoch">Identifies the new log.</param>
    public MessageLog OpenTransientLocked(int members, ulong epoch)
    {
        Debug.Assert(Gate.IsHeldByCurrentThread && !IsTransient);
        if (_transient is { } opened) return opened.Log;
        var log = new MessageLog(clock, settings) { Gate = Gate, Name = Name, Epoch = epoch, IsTransient = true };
        if (_linksGap) log.LinkGap();
        Volatile.Write(ref _transient, new TransientLog(log, members));
        clock.HasTransientLogs = true;
        return log;
    }

    /// <summary>
    /// Finds the first entry for a new reader. The entry is in a retained block if the reader needs retained values.
    /// The caller holds <see cref="Gate"/>.
    /// </summary>
    /// <param name="replay">The history that the reader requests.</param>
    /// <param name="recovered">
    /// True if the reader gets every message after the position in <paramref name="replay"/>. Null if the replay has no
    /// position.
    /// </param>
    public (Block Block, int Index) FindLocked(Replay replay, out bool? recovered)
    {
        Debug.Assert(Gate.IsHeldByCurrentThread);
        recovered = null;
        var oldest = history?.Oldest ?? 0;
        if (replay.AfterPosition is { } after)
        {
            var (block, index) = history?.Find(_tail, 0, oldest) ?? End;
            var isKept = after.Offset < NextOffset && after.Offset >= block.FirstOffset + index - 1;
            recovered = after.Epoch == Epoch && isKept;
            if (recovered is true) return history?.Find(_tail, after.Offset + 1, oldest) ?? End;
        }

        var messages = replay.MessagesOr(history?.ReplayOnJoin ?? 0);
        var start = messages > 0 && history is not null ? history.Find(_tail, NextOffset - messages, oldest) : End;
        return retained is null || replay == Replay.None ? start : retained.FindStart(start.Block, start.Index, _tail);
    }

    /// <summary>
    /// Removes expired messages from the history. Returns true if the log has no message for later readers afterwards.
    /// </summary>
    /// <param name="hasMembers">True if the group has members. The retained values then do not expire.</param>
    public bool ExpireLocked(bool hasMembers)
    {
        Debug.Assert(Gate.IsHeldByCurrentThread);
        var isEmpty = history?.Expire(_tail) ?? true;
        return (retained?.IsExpired(hasMembers, NextOffset) ?? true) && isEmpty;
    }

    /// <summary>
    /// Returns the reason why the log cannot retain a message and must refuse the message. Returns null if the log can
    /// append the message.
    /// </summary>
    public string? ProblemLocked(Message message, EntryMetadata? metadata)
    {
        Debug.Assert(Gate.IsHeldByCurrentThread);
        return retained is null || message.Key is null ? null : retained.Problem(message, metadata);
    }

    /// <summary>
    /// Adds a retained value whose message is older than the first message of this log. Call this method before the
    /// first append.
    /// </summary>
    /// <param name="message">The message, which has a key.</param>
    /// <param name="metadata">The metadata of the message.</param>
    /// <param name="offset">The offset of the message. Each call has a higher offset.</param>
    /// <param name="age">The time since the publish.</param>
    public void RetainLocked(Message message, EntryMetadata? metadata, long offset, TimeSpan age)
    {
        Debug.Assert(Gate.IsHeldByCurrentThread && offset < _tail.FirstOffset);
        var publishedAt = history?.PublishTime(age) ?? clock.Timestamp;
        retained?.Set(message, offset, new(clock.Next(), publishedAt, 0, metadata));
    }

    /// <summary>
    /// Returns the newest entries, in the order of their offsets. With a history, the result contains entries of the
    /// history. Otherwise, the result contains entries that are still in memory.
    /// </summary>
    /// <param name="max">The maximum number of entries.</param>
    public List<LogEntry> GetNewestLocked(int max)
    {
        Debug.Assert(Gate.IsHeldByCurrentThread);
        var entries = new List<LogEntry>();
        if (history is not null)
        {
            var (first, from) = history.Find(_tail, NextOffset - max, history.Oldest);
            for (var block = first; ; (block, from) = (block.Next!, 0))
            {
                for (var i = from; i < block.Count; i++) entries.Add(new(block, i));
                if (block == _tail) return entries;
            }
        }

        AddNewest(_tail);
        foreach (var (reference, _) in _olderBlocks.Reverse())
        {
            // The garbage collector may free the blocks in any order. So stop at the first missing block.
            if (entries.Count == max || !reference.TryGetTarget(out var block)) break;
            AddNewest(block);
        }

        entries.Reverse();
        return entries;

        void AddNewest(Block block)
        {
            for (var i = block.Count - 1; i >= 0 && entries.Count < max; i--) entries.Add(new(block, i));
        }
    }

    /// <summary>Appends a message and returns its offset.</summary>
    public long AppendLocked(Message message, EntryMetadata? metadata) =>
        AppendLocked(message, metadata, TimeSpan.Zero);

    /// <summary>Appends a message that a node of the cluster published some time ago.</summary>
    public long AppendLocked(Message message, EntryMetadata? metadata, TimeSpan age)
    {
        BeginAppendLocked();
        try
        {
            return AppendLocked(message, metadata, clock.Next(), age);
        }
        finally
        {
            EndAppendLocked();
        }
    }

    /// <summary>Sets <see cref="IsAppending"/>. Call this method before the message gets its sequence number.</summary>
    public void BeginAppendLocked()
    {
        Debug.Assert(Gate.IsHeldByCurrentThread);
        Volatile.Write(ref _isAppending, true);
    }

    /// <summary>Clears <see cref="IsAppending"/>. Call this method after readers can find the message.</summary>
    public void EndAppendLocked()
    {
        Debug.Assert(Gate.IsHeldByCurrentThread);
        Volatile.Write(ref _isAppending, false);
    }

    /// <summary>
    /// Appends a message with a sequence number that several logs share. The caller holds the locks of all these logs.
    /// </summary>
    public long AppendLocked(Message message, EntryMetadata? metadata, long sequence, TimeSpan age = default)
    {
        Debug.Assert(Gate.IsHeldByCurrentThread);
        Debug.Assert(!_isBroken);
        var size = Frame.Size(message.Payload.Length);
        if (_tail.Capacity - _tail.Length < size || _tail.Count == MaxEntries) Grow(NextBlockSize(size));
        Volatile.Write(ref _newestByte, _tail.FirstByte + _tail.CostOf(_tail.Count));
        _tail.Append(message, sequence, history?.PublishTime(age) ?? clock.Timestamp, metadata);
        history?.OnAppended(_tail);
        if (retained is not null && message.Key is not null)
            retained.Set(message, NextOffset - 1, _tail[_tail.Count - 1]);
        return NextOffset - 1;
    }

    /// <summary>
    /// Ends the newest block if the log has appended nothing since the last call. The garbage collector frees the block
    /// after its readers have moved to the next block.
    /// </summary>
    /// <returns>True if the caller must notify the readers, so that the readers move to the next block.</returns>
    public bool TrimIdleLocked()
    {
        Debug.Assert(Gate.IsHeldByCurrentThread);
        var isIdle = NextOffset == _offsetAtLastTrim;
        _offsetAtLastTrim = NextOffset;
        if (!isIdle || _tail.Capacity == 0) return false;
        Grow(0);
        return true;
    }

    /// <summary>
    /// Links the gap to the oldest block from now on. A reader at the gap then finds the newest messages, and keeps
    /// these messages in memory, up to the capacity of the log.
    /// </summary>
    /// <remarks>
    /// Only readers with <see cref="SlowConsumer.SkipToLatest"/> need this link. The link has a cost: an unreachable
    /// old block keeps newer blocks in memory until the garbage collector frees the old block. A test with 8 million
    /// messages of 1 KB caused 542 garbage collections. With the link, 180 of these collections included generation 1.
    /// Without the link, at most one collection did.
    /// </remarks>
    public void LinkGap()
    {
        if (Volatile.Read(ref _linksGap)) return;
        lock (Gate)
        {
            if (_gap is not null && _gap.TryGetTarget(out var gap)) gap.Link(FindOldest());
            _transient?.Log.LinkGap();
            Volatile.Write(ref _linksGap, true);
        }
    }

    /// <summary>
    /// Marks the end of a log whose next messages are lost. A reader notices the loss at the end of the log.
    /// </summary>
    public void BreakLocked()
    {
        Debug.Assert(Gate.IsHeldByCurrentThread);
        _tail.Link(Block.Lost);
        Volatile.Write(ref _isBroken, true);
    }

    /// <summary>
    /// Ends the newest block if the only reader of the log has read the whole block and the block is not small.
    /// </summary>
    public void TrimReadLocked(Block block, int index)
    {
        Debug.Assert(Gate.IsHeldByCurrentThread);
        if (block == _tail && index == block.Count && block.Capacity > MinBlockSize) Grow(0);
    }

    /// <summary>
    /// Pins a block. The log then keeps the block and all later blocks for a reader that may need these blocks again.
    /// </summary>
    public Retention.Pin PinLocked(Block block)
    {
        Debug.Assert(Gate.IsHeldByCurrentThread);
        _retention ??= new(settings.CurrentMaxRetained, settings.Budget ?? new(settings.CurrentMaxRetained));
        return _retention.Add(block, EndByte);
    }

    /// <summary>Reverts <see cref="PinLocked"/>.</summary>
    public void UnpinLocked(Retention.Pin pin)
    {
        Debug.Assert(Gate.IsHeldByCurrentThread);
        _retention!.Remove(pin, EndByte);
    }

    Block FindOldest()
    {
        foreach (var (reference, _) in _olderBlocks)
        {
            if (reference.TryGetTarget(out var block)) return block;
        }

        return _tail;
    }

    int NextBlockSize(int size) =>
        Math.Max(size, Math.Clamp(Math.Min(_tail.Capacity, MaxBlockSize) * 2, MinBlockSize, MaxBlockSize));

    void Grow(int nextCapacity)
    {
        var full = _tail;
        var lastByte = full.FirstByte + full.CostOf(full.Count);
        _tail = new Block(nextCapacity, full.FirstOffset + full.Count, lastByte);
        full.Link(_tail);
        _olderBlocks.Enqueue((new(full), lastByte));
        _retention?.OnGrown(lastByte);
        // The extra bytes are for the frame header and the index item. So one message of the maximum size fits.
        var capacity = settings.CurrentCapacity + Frame.MaxHeaderSize + Block.EntrySize;
        // A reader keeps its current block and every later block in memory. So the unreachable blocks are always the
        // oldest blocks.
        while (_olderBlocks.TryPeek(out var oldest))
        {
            if (oldest.Block.TryGetTarget(out var block))
            {
                if (lastByte - oldest.LastByte <= capacity) break;
                if (_retention?.Holds(block, oldest.LastByte) is true) break;
                Cut(block);
            }

            _olderBlocks.Dequeue();
        }
    }

    /// <summary>
    /// Links a block to the gap instead of the next block. All these blocks share one gap. So the log can link this gap
    /// to the oldest block of the log: see <see cref="LinkGap"/>.
    /// </summary>
    void Cut(Block block)
    {
        if (_gap is null || !_gap.TryGetTarget(out var gap))
        {
            gap = Block.CreateGap();
            _gap = new(gap);
        }

        // Readers follow these links without the lock. So set the link of the gap first.
        if (_linksGap) gap.Link(block.Next!);
        block.Link(gap);
    }
}
