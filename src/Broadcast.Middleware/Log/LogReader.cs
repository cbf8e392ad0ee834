namespace Broadcast.Middleware;

/// <summary>
/// Reads the logs of one connection as if they were one, in the order in which messages were published. Used by the connection's
/// pump alone.
/// </summary>
sealed class LogReader(SequenceClock clock)
{
    Cursor[] _cursors = new Cursor[2]; // Everyone's group and the home group: what most connections are in.
    int _count;
    bool _isClosed;
    Cursor? _lane;
    Arrival? _arrivals;

    /// <summary>Some log had messages which it dropped before they were read.</summary>
    public bool HasMissed { get; private set; }

    /// <summary>
    /// From any thread: reads this log too. The caller holds the log's gate, so that whatever is published to it afterwards has a
    /// higher sequence number than the newest one at the time.
    /// </summary>
    public void Arrive(Cursor cursor)
    {
        Arrival arrival;
        do arrival = new Arrival(cursor, Volatile.Read(ref _arrivals));
        while (Interlocked.CompareExchange(ref _arrivals, arrival, arrival.Next) != arrival.Next);
    }

    void Admit()
    {
        if (Volatile.Read(ref _arrivals) is null) return;
        for (var arrival = Interlocked.Exchange(ref _arrivals, null); arrival is not null; arrival = arrival.Next)
        {
            if (_isClosed || arrival.Cursor.HasLeft) arrival.Cursor.Release();
            else Add(arrival.Cursor);
        }
    }

    void Add(Cursor cursor)
    {
        if (_count == _cursors.Length) Array.Resize(ref _cursors, _count * 2);
        _cursors[_count++] = cursor;
        if (cursor.Slice is { } slice) slice.Add(cursor);
        else _lane = cursor;
    }

    /// <summary>Lets go of all logs, and takes no more.</summary>
    public void Close()
    {
        _isClosed = true;
        Admit();
        while (_count > 0) RemoveAt(_count - 1);
        _lane = null;
    }

    /// <summary>Whether more than so many bytes wait in some log.</summary>
    public bool IsBehindBy(long bytes)
    {
        Admit();
        for (var i = _count - 1; i >= 0; i--)
        {
            if (_cursors[i].HasLeft) RemoveAt(i);
            else if (_cursors[i].Behind > bytes) return true;
        }

        return false;
    }

    /// <summary>
    /// Leaves out what newer messages with the same keys replace, in the logs that are behind by more than so many bytes. False if
    /// these logs cannot go on without this reader even so, because too much is left, or something is gone already.
    /// </summary>
    public bool TryCompact(long bytes, long lastSequence, int largest, out long leftOut)
    {
        Admit();
        leftOut = 0;
        var isCompact = true;
        foreach (var cursor in _cursors.AsSpan(0, _count))
        {
            if (!cursor.HasMissed && cursor.Behind <= bytes) continue;
            isCompact &= cursor.TryCompact(lastSequence, largest, out var replaced, out var isAll) && isAll;
            leftOut += replaced;
        }

        return isCompact && !HasMissed;
    }

    /// <summary>Goes on with the newest message in the logs that are so far behind, and returns how many are left out.</summary>
    public long Skip(long bytes)
    {
        Admit();
        var skipped = 0L;
        foreach (var cursor in _cursors.AsSpan(0, _count))
        {
            if (cursor.HasMissed || cursor.Behind > bytes) skipped += cursor.SkipToNewest();
        }

        HasMissed = false;
        return skipped;
    }

    /// <summary>The next messages, up to the sequence number given, that stand in one piece; false if there are none now.</summary>
    /// <remarks>
    /// First the newest sequence number, then the logs that have come, then the logs' ends. What an end shows beyond that number may
    /// have a predecessor in a log that was looked at too early, and waits for the next round.
    /// </remarks>
    public bool TryTake(long lastSequence, out Run run)
    {
        run = default;
        while (run.IsEmpty)
        {
            var newest = Math.Min(clock.Last, lastSequence);
            Admit();
            Cursor? first = null;
            long firstSequence = long.MaxValue, secondSequence = long.MaxValue;
            for (var i = _count - 1; i >= 0; i--)
            {
                var cursor = _cursors[i];
                if (cursor.TryPeek(out var sequence))
                {
                    if (sequence < firstSequence) (first, firstSequence, secondSequence) = (cursor, sequence, firstSequence);
                    else if (sequence < secondSequence) secondSequence = sequence;
                }
                else if (cursor.HasMissed)
                {
                    HasMissed = true;
                    return false;
                }
                else if (cursor.HasLeft)
                {
                    RemoveAt(i);
                }
            }

            if (first is null || firstSequence > lastSequence)
            {
                _lane?.Trim();
                return false;
            }

            if (firstSequence <= newest) run = first.Take(Math.Min(newest, secondSequence - 1));
        }

        return true;
    }

    void RemoveAt(int index)
    {
        var cursor = _cursors[index];
        _cursors[index] = _cursors[--_count];
        _cursors[_count] = null!;
        cursor.Slice?.Remove(cursor);
        cursor.Release();
    }

    sealed record Arrival(Cursor Cursor, Arrival? Next);
}
