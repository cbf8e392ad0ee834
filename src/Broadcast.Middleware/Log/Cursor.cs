namespace Broadcast.Middleware;

/// <summary>Where one connection stands in one log. Its position belongs to the connection's pump and to nobody else.</summary>
sealed class Cursor
{
    readonly MessageLog _log;
    Block _block;
    int _index;
    LeaveMark? _leave;

    /// <summary>Starts at the log's end; the caller holds the log's gate, so that the first message after the call is the first one read.</summary>
    /// <param name="log">What it reads.</param>
    /// <param name="writer">Where it goes.</param>
    /// <param name="slice">The list through which the log's news wake it; null if the log wakes the writer itself.</param>
    public Cursor(MessageLog log, ConnectionWriter writer, Slice? slice)
    {
        _log = log;
        Writer = writer;
        Slice = slice;
        (_block, _index) = log.End;
    }

    public ConnectionWriter Writer { get; }

    public Slice? Slice { get; }

    /// <summary>Its place in the slice; the slice's to use.</summary>
    public int SliceIndex { get; set; }

    /// <summary>The log had messages for this cursor which it dropped before they were read.</summary>
    public bool HasMissed { get; private set; }

    /// <summary>Every message up to the point at which the connection left has been read.</summary>
    public bool HasLeft => Offset >= LeaveAt;

    /// <summary>How many bytes wait to be read, not counting the newest message.</summary>
    public long Behind => Math.Min(_log.NewestByte, Volatile.Read(ref _leave)?.Byte ?? long.MaxValue) - (_block.FirstByte + _block.CostOf(_index));

    long Offset => _block.FirstOffset + _index;

    long LeaveAt => Volatile.Read(ref _leave)?.Offset ?? long.MaxValue;

    /// <summary>The last message to be read is the last one published so far. The caller holds the log's gate.</summary>
    public void LeaveHere() => Volatile.Write(ref _leave, new LeaveMark(_log.NextOffset, _log.NewestByte));

    /// <summary>Whether a message is there to be read, and its sequence number.</summary>
    public bool TryPeek(out long sequence)
    {
        while (true)
        {
            // In this order: a block that has a successor gets no more messages, so the count that follows is final.
            var next = _block.Next;
            if (_index < _block.Count)
            {
                sequence = _block[_index].Sequence;
                return !HasLeft;
            }

            sequence = 0;
            if (next is null) return false;
            if (next == Block.Cut)
            {
                HasMissed = !HasLeft;
                return false;
            }

            (_block, _index) = (next, 0);
        }
    }

    /// <summary>Nobody reads by it any more, and it holds no memory, however long its membership lasts.</summary>
    public void Release() => (_block, _index) = (Block.Cut, 0);

    /// <summary>Moves to the log's end and returns how many messages are left out.</summary>
    public long SkipToEnd()
    {
        lock (_log.Gate)
        {
            var from = Offset;
            (_block, _index) = _log.End;
            HasMissed = false;
            return Math.Min(Offset, LeaveAt) - from;
        }
    }

    /// <summary>
    /// Takes what waits, without what has been replaced, out of the log and into a block of its own, so that the log can go on
    /// without this reader. False if that is more than fits a block, or the reader is about to leave.
    /// </summary>
    /// <param name="largest">The most bytes it may take.</param>
    /// <param name="leftOut">How many messages had been replaced.</param>
    public bool TryCompact(int largest, out long leftOut)
    {
        leftOut = 0;
        lock (_log.Gate)
        {
            var size = 0;
            var count = 0;
            foreach (var (block, index) in Waiting())
            {
                size += block.SizeOf(index);
                count++;
            }

            if (size > largest || HasMissed || _leave is not null) return false;
            var next = _log.EndBlock();
            var own = new Block(size, next.FirstOffset - count, next.FirstByte - size - ((long)count * Block.EntrySize));
            foreach (var (block, index) in Waiting()) own.Append(block, index);
            own.Link(next);
            leftOut = next.FirstOffset - Offset - count;
            (_block, _index) = (own, 0);
            return true;
        }
    }

    IEnumerable<(Block Block, int Index)> Waiting()
    {
        var index = _index;
        for (var block = _block; block is not null; block = block.Next)
        {
            if (block == Block.Cut) HasMissed = true;
            for (; index < block.Count; index++)
            {
                if (!block[index].IsSuperseded) yield return (block, index);
            }

            index = 0;
        }
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
    /// returns them; empty if the next ones are not for it. Up to <paramref name="conflatedSequence"/> leaves out those that have been
    /// replaced, and adds them to <paramref name="leftOut"/>. Call it after <see cref="TryPeek"/> has found a message.
    /// </summary>
    public Run Take(long lastSequence, long conflatedSequence, ref long leftOut)
    {
        // The count before the leave mark: whoever published after leaving comes after the mark in this order too.
        var block = _block;
        var count = block.Count;
        count = (int)Math.Min(count, LeaveAt - block.FirstOffset);

        var from = _index;
        var to = count;
        if (block.HasExclusions || (block.HasSuperseded && conflatedSequence > 0))
        {
            for (; from < count && (IsReplaced(from) || IsExcluded(from)); from++)
            {
                if (!IsExcluded(from)) leftOut++;
            }

            to = from;
            while (to < count && !IsReplaced(to) && !IsExcluded(to)) to++;
        }

        while (to > from && block[to - 1].Sequence > lastSequence) to--;
        _index = to;
        return block.Run(from, to);

        bool IsReplaced(int index) => block[index].IsSuperseded && block[index].Sequence <= conflatedSequence;

        bool IsExcluded(int index) => block[index].Exclusions is { } exclusions && exclusions.Contains(Writer.ConnectionId);
    }

    /// <param name="Offset">The first message that is not for the reader any more.</param>
    /// <param name="Byte">As <see cref="MessageLog.NewestByte"/>.</param>
    sealed record LeaveMark(long Offset, long Byte);
}
