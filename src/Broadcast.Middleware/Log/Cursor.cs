namespace Broadcast.Middleware;

/// <summary>Where one connection stands in one log. Its position belongs to the connection's pump and to nobody else.</summary>
sealed partial class Cursor
{
    readonly MessageLog _log;
    readonly CursorOptions? _options;
    Block _block;
    int _index;
    LeaveMark? _leave;

    /// <summary>Starts at the log's end; the caller holds the log's gate, so that the first message after the call is the first one read.</summary>
    /// <param name="log">What it reads.</param>
    /// <param name="writer">Where it goes.</param>
    /// <param name="slice">The list through which the log's news wake it; null if the log wakes the writer itself.</param>
    /// <param name="options">How it differs from most; null if it does not.</param>
    public Cursor(MessageLog log, ConnectionWriter writer, Slice? slice, CursorOptions? options = null)
    {
        _log = log;
        _options = options;
        Writer = writer;
        Slice = slice;
        (_block, _index) = options?.Start ?? log.End;
        // Else it would hold the block, and through it all that follow.
        if (options is not null) options.Start = null;
    }

    public ConnectionWriter Writer { get; }

    public Slice? Slice { get; }

    /// <summary>Its place in the slice; the slice's to use.</summary>
    public int SliceIndex { get; set; }

    /// <summary>The log had messages for this cursor which it dropped before they were read.</summary>
    public bool HasMissed { get; private set; }

    public SlowConsumer WhenSlow => _log.WhenSlow;

    /// <summary>See <see cref="WireFormat.TellsPosition"/>.</summary>
    public bool TellsPosition => _options?.Format?.TellsPosition ?? false;

    /// <summary>Whether what <see cref="TryPeek"/> has found stands in other logs too.</summary>
    public bool IsAtShared => _block.HasExclusions && IsShared(_block, _index);

    /// <summary>If so, and they come one by one, which of them this is; else null.</summary>
    public SharedCopy? Copy => _block[_index].Exclusions!.Copy;

    /// <summary>Whether it reads this copy, or has read it.</summary>
    public bool IsFor(SharedCopy copy) => _log.Epoch == copy.Position.Epoch && _log.Name == copy.Group
        && copy.Position.Offset >= (_options?.FirstOffset ?? long.MaxValue) && copy.Position.Offset < LeaveAt;

    /// <summary>The log has broken off: something is missing for good.</summary>
    public bool IsLost { get; private set; }

    /// <summary>It will have, when everything else has been read.</summary>
    public bool IsToBeLost => _log.HasBrokenOff && LeaveAt == long.MaxValue;

    /// <summary>Every message up to the point at which the connection left has been read.</summary>
    public bool HasLeft => Offset >= LeaveAt;

    /// <summary>How many bytes wait to be read, not counting the newest message.</summary>
    public long Behind => Math.Min(_log.NewestByte, Volatile.Read(ref _leave)?.Byte ?? long.MaxValue)
        - Math.Max(_block.FirstByte + _block.CostOf(_index), _options?.LiveByte ?? 0);

    long Offset => _block.FirstOffset + _index;

    long LeaveAt => Volatile.Read(ref _leave)?.Offset ?? long.MaxValue;

    /// <summary>
    /// The last message to be read is the last one published so far. Of a log that has broken off nobody knows which one that is: its reader has
    /// missed some, and finds out. The caller holds the log's gate.
    /// </summary>
    public void LeaveHere()
    {
        if (!_log.HasBrokenOff) Volatile.Write(ref _leave, new LeaveMark(_log.NextOffset, _log.NewestByte));
    }

    /// <summary>Whether a message is there to be read, and its sequence number.</summary>
    public bool TryPeek(out long sequence)
    {
        while (true)
        {
            // In this order: a block that has a successor gets no more messages, so the count that follows is final.
            var next = _block.Next;
            if (_index < _block.Count)
            {
                ref readonly var entry = ref _block[_index];
                sequence = entry.Sequence;
                return !HasLeft && entry.Exclusions is not { IsSettled: false };
            }

            sequence = 0;
            if (next is null) return false;
            if (next.IsGap)
            {
                HasMissed = !HasLeft;
                IsLost = HasMissed && next == Block.Lost;
                return false;
            }

            (_block, _index) = (next, _block.NextIndex);
        }
    }

    /// <summary>
    /// Takes what waits out of the log and into a block of its own, without what newer messages with the same keys replace for this
    /// reader. False if something is gone already.
    /// </summary>
    /// <param name="lastSequence">The last message that is to be read.</param>
    /// <param name="largest">The most bytes it may take out; the rest stays in the log.</param>
    /// <param name="leftOut">How many messages are replaced.</param>
    /// <param name="isAll">Whether nothing stays, so that the log can go on without this reader.</param>
    public bool TryCompact(long lastSequence, int largest, out long leftOut, out bool isAll)
    {
        (leftOut, isAll) = (0, false);
        if (Waiting(lastSequence) is not { } waiting) return false;
        var newestOfKey = new Dictionary<string, int>(StringComparer.Ordinal);
        for (var i = 0; i < waiting.Count - 1; i++)
        {
            if (waiting[i].Block.KeyOf(waiting[i].Index) is { } key) newestOfKey[key] = i;
        }

        var (size, count) = (0, 0);
        var kept = new List<(Block Block, int Index)>();
        for (; count < waiting.Count - 1; count++)
        {
            var (block, index) = waiting[count];
            if (block.KeyOf(index) is { } key && newestOfKey[key] != count)
            {
                leftOut++;
                continue;
            }

            if (size + block.SizeOf(index) > largest) break;
            size += block.SizeOf(index);
            kept.Add((block, index));
        }

        var (next, nextIndex) = waiting[count];
        isAll = count == waiting.Count - 1;
        var cost = size + ((long)kept.Count * Block.EntrySize);
        // Before the mark of a reader that leaves, so that it takes what it has kept.
        var offset = Math.Min(next.FirstOffset + nextIndex, LeaveAt) - kept.Count;
        var own = new Block(size, offset, next.FirstByte + next.CostOf(nextIndex) - cost);
        foreach (var (block, index) in kept) own.Append(block, index);
        own.Link(next, nextIndex);
        (_block, _index) = (own, 0);
        return true;
    }

    /// <summary>The messages that are for this reader and wait, and then the log's end; null if some are gone.</summary>
    List<(Block Block, int Index)>? Waiting(long lastSequence)
    {
        Block end;
        int endIndex;
        lock (_log.Gate) (end, endIndex) = _log.End;
        var waiting = new List<(Block, int)>();
        for (var (block, index) = (_block, _index); ; (block, index) = (block.Next!, block.NextIndex))
        {
            if (block.IsGap) return null;
            var count = block == end ? endIndex : block.Count;
            for (; index < count; index++)
            {
                if (block.FirstOffset + index < LeaveAt && block[index].Sequence <= lastSequence && !IsExcluded(block, index)) waiting.Add((block, index));
            }

            if (block != end) continue;
            waiting.Add((end, endIndex));
            return waiting;
        }
    }

    /// <summary>Nobody reads by it any more, and it holds no memory, however long its membership lasts.</summary>
    public void Release()
    {
        Forget();
        (_block, _index) = (Block.Cut, 0);
    }

    /// <summary>Moves past what <see cref="TryPeek"/> has found.</summary>
    public void Pass() => _index++;

    /// <summary>What is to be sent before any message, once.</summary>
    public ReadOnlyMemory<byte> TakeOpening() => _options?.TakeOpening() ?? default;

    /// <summary>Moves to the newest message and returns how many before it are left out that were for this reader.</summary>
    public long SkipToNewest()
    {
        Block tail;
        int count;
        lock (_log.Gate) (tail, count) = _log.End;
        var (block, index) = (tail, Math.Max(0, count - 1));
        var to = Math.Min(block.FirstOffset + index, LeaveAt);
        var leftOut = Math.Max(0, to - Offset);
        for (var passed = _block; passed is { IsGap: false } && passed.FirstOffset < to; passed = passed.Next)
        {
            if (!passed.HasExclusions) continue;
            for (var i = passed == _block ? _index : 0; i < passed.Count && passed.FirstOffset + i < to; i++)
            {
                if (IsExcluded(passed, i)) leftOut--;
            }
        }

        if (block.FirstOffset + index > Offset) (_block, _index) = (block, index);
        HasMissed = false;
        return leftOut;
    }

    /// <summary>The log's only reader has read all there is: what it took can be freed.</summary>
    public void Trim()
    {
        if (_block.Capacity == 0) return;
        lock (_log.Gate) _log.Trim(_block, _index);
        TryPeek(out _);
    }

    /// <summary>
    /// Moves past the messages up to <paramref name="lastSequence"/> that stand in one piece and are for this connection, and
    /// returns them; empty if the next ones are not for it. Call it after <see cref="TryPeek"/> has found a message.
    /// </summary>
    /// <param name="lastSequence">The last message that is to be read.</param>
    /// <param name="acknowledgements">What the client has had before; null if nobody asks.</param>
    public Run Take(long lastSequence, Acknowledgements? acknowledgements = null)
    {
        // The count before the leave mark: whoever published after leaving comes after the mark in this order too.
        var block = _block;
        var count = block.Count;
        count = (int)Math.Min(count, LeaveAt - block.FirstOffset);

        var from = _index;
        var to = count;
        if (block.HasExclusions)
        {
            while (from < count && IsExcluded(block, from)) from++;
            to = from;
            // One that stands in several logs has to be looked at on its own.
            while (to < count && !IsExcluded(block, to) && (to == _index || !IsShared(block, to))) to++;
        }

        while (to > from && block[to - 1].Sequence > lastSequence) to--;
        var format = _options?.Format;
        if (acknowledgements is not null && to > from)
        {
            var isLate = IsLate(block, from, acknowledgements);
            if (block[from].Sequence <= acknowledgements.HighestSent)
            {
                var end = from + 1;
                while (end < to && IsLate(block, end, acknowledgements) == isLate) end++;
                to = end;
            }

            if (isLate)
            {
                format = format?.Unsequenced;
                acknowledgements.OnSentLate();
            }
            else
            {
                // Answers take numbers too, but the client is not told them, and cannot acknowledge them.
                var last = to;
                while (last > from && block[last - 1].Exclusions is { IsVerbatim: true }) last--;
                if (last > from) acknowledgements.OnSent(block[last - 1].Sequence, last - from, block.CostOf(last) - block.CostOf(from));
            }
        }

        _index = to;
        if (_options is null) return block.Run(from, to);
        var run = format is not null ? block.Run(from, to, format, _log) : block.Run(from, to);
        // What comes from the history says nothing about the time from publish to write.
        return block.FirstOffset + from < _options.LiveOffset ? run with { PublishedAt = 0 } : run;
    }

    /// <summary>
    /// The client would take it for old: it has a lower number than one that was sent before, on this line or, unless it was itself sent on that,
    /// on the one before.
    /// </summary>
    bool IsLate(Block block, int index, Acknowledgements acknowledgements) => block[index].Sequence <= (
        block.OffsetOf(index) < (_options?.SentBefore ?? 0) ? acknowledgements.LastSent : acknowledgements.HighestSent);

    static bool IsShared(Block block, int index) => block[index].Exclusions is { IsShared: true };

    bool IsExcluded(Block block, int index) => block[index].Exclusions is { } exclusions
        && (exclusions.Contains(Writer.ConnectionId) || (exclusions.IsVerbatim && block.FirstOffset + index < (_options?.ResentBefore ?? 0)));

    /// <param name="Offset">The first message that is not for the reader any more.</param>
    /// <param name="Byte">As <see cref="MessageLog.NewestByte"/>.</param>
    sealed record LeaveMark(long Offset, long Byte);
}
