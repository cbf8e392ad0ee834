namespace Broadcast.Middleware;

/// <summary>
/// Reads the logs of one connection as if they were one, in the order in which messages were published. Used by the connection's
/// pump alone.
/// </summary>
/// <param name="clock">Numbers the messages.</param>
/// <param name="acknowledgements">Of a client that acknowledges what it has; else null.</param>
sealed partial class LogReader(SequenceClock clock, Acknowledgements? acknowledgements = null)
{
    Cursor[] _cursors = new Cursor[2]; // Everyone's group and the home group: what most connections are in.
    int _count;
    bool _isClosed;
    Cursor? _lane;
    Arrival? _arrivals;
    (long Id, long Sequence)[]? _copies;
    int _nextCopy;

    /// <summary>Of a client that acknowledges what it has; else null.</summary>
    public Acknowledgements? Acknowledgements => acknowledgements;

    /// <summary>Some log had messages which it dropped before they were read.</summary>
    public bool HasMissed { get; private set; }

    /// <summary>Because the cluster has lost them.</summary>
    public bool HasLost { get; private set; }

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
        if (acknowledgements is { IsKept: true } && _count >= acknowledgements.MaxLogs) Lose();
        if (acknowledgements is { IsKept: false }) cursor.Forget();
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
            if (_cursors[i].HasLeft) RemoveUnlessAwaited(i);
            else if (_cursors[i].Behind > bytes) return true;
        }

        return false;
    }

    /// <summary>Whether some log has broken off, which shows when everything in it has been read.</summary>
    public bool IsToBeLost()
    {
        Admit();
        foreach (var cursor in _cursors.AsSpan(0, _count))
        {
            if (cursor.IsToBeLost) return true;
        }

        return false;
    }

    /// <summary>
    /// Leaves out what newer messages with the same keys replace, where a log is set to that and this reader is behind.
    /// </summary>
    public void Conflate(long lastSequence, int largest, out long leftOut)
    {
        Admit();
        leftOut = 0;
        foreach (var cursor in _cursors.AsSpan(0, _count))
        {
            if (cursor.WhenSlow != SlowConsumer.Conflate || cursor.HasMissed || cursor.Behind <= 0) continue;
            cursor.TryCompact(lastSequence, largest, out var replaced, out _);
            leftOut += replaced;
        }
    }

    /// <summary>
    /// In each log in which more than so many bytes wait, goes on as the log is set to. False if one of them cannot go on with this
    /// reader: it is not to lose anything, or, conflated, too much is left, or something is gone already.
    /// </summary>
    /// <param name="bytes">How many bytes may wait.</param>
    /// <param name="lastSequence">The last message that is to be read.</param>
    /// <param name="largest">The most bytes a reader may keep for itself.</param>
    /// <param name="skipped">How many messages are left out for the newest one.</param>
    /// <param name="replaced">How many are left out for newer ones with the same keys.</param>
    public bool TryCatchUp(long bytes, long lastSequence, int largest, out long skipped, out long replaced)
    {
        Admit();
        (skipped, replaced) = (0, 0);
        foreach (var cursor in _cursors.AsSpan(0, _count))
        {
            if (!cursor.HasMissed && cursor.Behind <= bytes) continue;
            switch (cursor.WhenSlow)
            {
                case SlowConsumer.SkipToLatest when !cursor.IsLost:
                    skipped += cursor.SkipToNewest();
                    break;
                case SlowConsumer.Conflate when !cursor.HasMissed:
                    var canGoOn = cursor.TryCompact(lastSequence, largest, out var leftOut, out var isAll) && isAll;
                    replaced += leftOut;
                    if (!canGoOn) return false;
                    break;
                default:
                    return false;
            }
        }

        HasMissed = false;
        return true;
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
                if (cursor.TakeOpening() is { IsEmpty: false } opening)
                {
                    run = new Run(opening, 0, 0);
                    return true;
                }

                if (cursor.TryPeek(out var sequence))
                {
                    // Of the copies of one message, the one that tells the client where it is: else it would ask for it again.
                    if (sequence < firstSequence || (sequence == firstSequence && cursor.TellsPosition)) (first, firstSequence, secondSequence) = (cursor, sequence, firstSequence);
                    else if (sequence < secondSequence) secondSequence = sequence;
                }
                else if (cursor.HasMissed)
                {
                    HasMissed = true;
                    HasLost |= cursor.IsLost;
                    return false;
                }
                else if (cursor.HasLeft)
                {
                    RemoveUnlessAwaited(i);
                }
                else if (cursor == _lane)
                {
                    cursor.Writer.Connection.OnLaneRead();
                }
            }

            if (first is null || firstSequence > lastSequence)
            {
                TrimLane();
                return false;
            }

            if (firstSequence > newest) continue;
            if (first.IsAtShared && first.Copy is { } copy)
            {
                if (IsFirst(copy, firstSequence)) run = first.Take(firstSequence, acknowledgements);
                else first.Pass();
            }
            // A log that was left and joined again is read by two cursors, which can stand before the same message: one after the other.
            else if (!first.IsAtShared) run = first.Take(Math.Max(firstSequence, Math.Min(newest, secondSequence - 1)), acknowledgements);
            else if (TryPassCopies(first, firstSequence)) run = first.Take(firstSequence, acknowledgements);
        }

        if (acknowledgements is { IsKept: true, IsTooMuch: true }) Lose();
        return true;
    }

    /// <summary>Of copies that come one by one, whether this is the first that is for this reader.</summary>
    bool IsFirst(SharedCopy copy, long sequence)
    {
        for (var earlier = copy.Earlier; earlier is not null; earlier = earlier.Earlier)
        {
            foreach (var cursor in _cursors.AsSpan(0, _count))
            {
                if (cursor.IsFor(earlier)) return false;
            }
        }

        // One that was read in a group which it has left since: so many others may lie between.
        _copies ??= new (long, long)[64];
        foreach (var (id, taken) in _copies)
        {
            // One that is sent again is no other copy.
            if (id == copy.Id) return taken == sequence;
        }

        _copies[_nextCopy++ % _copies.Length] = (copy.Id, sequence);
        return true;
    }

    /// <summary>
    /// Passes over the same message in the other logs. It stands in all of them, so wherever this reader is to have it, it is the next
    /// one, or something older has come to light there in the meantime: then false, and that goes first.
    /// </summary>
    bool TryPassCopies(Cursor first, long sequence)
    {
        foreach (var cursor in _cursors.AsSpan(0, _count))
        {
            if (cursor == first || !cursor.TryPeek(out var other)) continue;
            if (other < sequence) return false;
            if (other == sequence) cursor.Pass();
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
