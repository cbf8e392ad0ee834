namespace Broadcast.Middleware.Logs;

/// <summary>
/// Merges the logs of one subscriber into one stream, in the order in which the messages were published. Only the
/// thread of the subscriber uses this class, except for <see cref="Add"/>, <see cref="HoldsOpening"/> and
/// <see cref="NewestSequence"/>.
/// </summary>
sealed class LogReader
{
    // A message to several groups has one copy in each group. The reader remembers this number of copies, and skips
    // further copies of the same messages. The remembered copies matter only after the subscriber has left a group.
    const int RememberedCopies = 64;

    // A reader with at most this number of logs checks each log. A reader with more logs tracks the logs, and checks
    // only the logs with announced messages.
    const int MaxUntrackedLogs = 8;

    readonly SequenceClock _clock;
    readonly byte _whenSlow; // A byte keeps the object of an idle connection small.

    // The active cursors are first. Most connections have two cursors: for the group of all connections and for their
    // home group.
    Cursor[] _cursors = new Cursor[2];
    int _count;
    int _activeCount;
    Cursor? _privateLog;
    NewCursor? _newCursors;
    volatile bool _holdsOpening;
    (long Id, long Sequence)[]? _takenCopies;
    int _nextCopy;

    /// <param name="clock">The clock that numbers the messages.</param>
    /// <param name="acknowledgements">The state of a client that acknowledges messages. Null for other clients.</param>
    /// <param name="whenSlow">
    /// Selects what the server does with this reader if the reader is slow and the log has no setting.
    /// </param>
    public LogReader(
        SequenceClock clock,
        Acknowledgements? acknowledgements = null,
        SlowConsumer whenSlow = SlowConsumer.Disconnect)
    {
        _clock = clock;
        Resend = acknowledgements is null ? null : new ResendTracker(this, acknowledgements);
        _whenSlow = (byte)whenSlow;
    }

    /// <summary>Moves the bookmarks of a client that acknowledges messages. Null for other clients.</summary>
    public ResendTracker? Resend { get; }

    /// <summary>True if a log dropped messages before this reader read the messages.</summary>
    public bool HasMissed { get; private set; }

    /// <summary>True if the cluster lost messages of a log before this reader read the messages.</summary>
    public bool IsLost { get; private set; }

    /// <summary>True after <see cref="Close"/>.</summary>
    public bool IsClosed { get; private set; }

    /// <summary>
    /// True if the reader returns neither an opening nor the messages after an opening. A last sequence number ends the
    /// hold. Any thread may change this property.
    /// </summary>
    public bool HoldsOpening
    {
        get => _holdsOpening;
        set => _holdsOpening = value;
    }

    /// <summary>True if the setting of this reader takes precedence over the settings of the logs.</summary>
    public bool PrefersOwnSetting { get; init; }

    /// <summary>True if a cursor has or had a subscription filter.</summary>
    public bool HasFilters { get; private set; }

    /// <summary>The newest sequence number of the broadcast.</summary>
    public long NewestSequence => _clock.Last;

    public ReadOnlySpan<Cursor> Cursors => _cursors.AsSpan(0, _count);

    /// <summary>
    /// Adds the cursor of a log. After the subscriber has left a tracked log, the group adds the cursor again, so that
    /// the reader checks the log. Any thread may call this method. The caller holds the lock of the log, so every later
    /// message of the log gets its sequence number after this call.
    /// </summary>
    public void Add(Cursor cursor)
    {
        if (WhenSlow(cursor) == SlowConsumer.SkipToLatest) cursor.PrepareToSkip();
        NewCursor added;
        do added = new NewCursor(cursor, Volatile.Read(ref _newCursors));
        while (Interlocked.CompareExchange(ref _newCursors, added, added.Next) != added.Next);
    }

    /// <summary>Takes over new cursors from <see cref="Add"/>, and returns all cursors.</summary>
    public ReadOnlySpan<Cursor> AdmitCursors()
    {
        if (Volatile.Read(ref _newCursors) is not null) Admit();
        return Cursors;
    }

    /// <summary>
    /// Makes the reader check the log of a cursor again, because the log has a message or will have a message soon.
    /// </summary>
    public void Activate(Cursor cursor)
    {
        if (cursor.IsActive) return;
        Swap(cursor.ReaderIndex, _activeCount++);
        cursor.IsActive = true;
    }

    /// <inheritdoc cref="ILogSubscriber.Prefetch"/>
    /// <remarks>Most readers have at most two cursors.</remarks>
    public int Prefetch() => (_cursors[0]?.ReaderIndex ?? 0) + (_cursors[1]?.ReaderIndex ?? 0);

    /// <summary>Removes all logs and accepts no further logs.</summary>
    public void Close()
    {
        IsClosed = true;
        AdmitCursors();
        while (_count > 0) RemoveAt(_count - 1);
        _privateLog = null;
    }

    /// <summary>
    /// Removes a cursor whose subscriber has left, unless the client still needs the opening or may need messages of
    /// the cursor again.
    /// </summary>
    /// <returns>True if the reader has removed the cursor.</returns>
    public bool RemoveUnlessNeeded(int index)
    {
        var cursor = _cursors[index];
        if (_clock.HasTransientLogs) CheckTransientCursor(cursor);
        if (cursor.NeedsOpening) return false;
        if (cursor.Bookmark?.IsNeededAfterLeave(cursor) is true) return false;
        RemoveAt(index);
        return true;
    }

    /// <summary>
    /// The largest number of unread bytes in one log: see <see cref="Cursor.Behind"/>. Reading the property has no side
    /// effect.
    /// </summary>
    public long Backlog
    {
        get
        {
            var backlog = 0L;
            for (var i = 0; i < _activeCount; i++) backlog = Math.Max(backlog, _cursors[i].Behind);
            return backlog;
        }
    }

    /// <summary>
    /// True if at least one log has more than <paramref name="bytes"/> unread bytes, or if the reader must compact a
    /// log with a filter.
    /// </summary>
    public bool IsBehindBy(long bytes)
    {
        AdmitActiveCursors();
        for (var i = _activeCount - 1; i >= 0; i--)
        {
            if (_cursors[i].HasLeft) RemoveUnlessNeeded(i);
            else if (_cursors[i].Behind > bytes || _cursors[i].NeedsCompaction(bytes)) return true;
        }

        return false;
    }

    /// <summary>True if a log is broken. The reader itself notices the loss only at the end of the log.</summary>
    public bool WillBeLost()
    {
        foreach (var cursor in AdmitActiveCursors())
        {
            if (cursor.WillBeLost) return true;
        }

        return false;
    }

    /// <summary>
    /// Drops unread messages that newer messages with the same key replace, in logs with
    /// <see cref="SlowConsumer.Conflate"/>.
    /// </summary>
    /// <param name="lastSequence">The highest sequence number to read.</param>
    /// <param name="maxBytes">The maximum number of bytes that the reader may copy for each log.</param>
    /// <returns>The number of dropped messages.</returns>
    public long Conflate(long lastSequence, int maxBytes)
    {
        var dropped = 0L;
        foreach (var cursor in AdmitActiveCursors())
        {
            if (WhenSlow(cursor) != SlowConsumer.Conflate || cursor.HasMissed || cursor.Behind <= 0) continue;
            cursor.TryCompact(lastSequence, maxBytes, out var replaced, out _);
            dropped += replaced;
        }

        return dropped;
    }

    /// <summary>
    /// Applies the <see cref="SlowConsumer"/> setting of each log with too many unread bytes. Returns false if the
    /// reader cannot continue with a log.
    /// </summary>
    /// <param name="maxBacklog">The maximum number of unread bytes.</param>
    /// <param name="lastSequence">The highest sequence number to read.</param>
    /// <param name="maxBytes">The maximum number of bytes that the reader may copy for each log.</param>
    /// <param name="skipped">The number of messages that the reader skipped to reach the newest message.</param>
    /// <param name="replaced">
    /// The number of messages that the reader dropped, because newer messages have the same keys.
    /// </param>
    public bool TryCatchUp(long maxBacklog, long lastSequence, int maxBytes, out long skipped, out long replaced)
    {
        (skipped, replaced) = (0, 0);
        foreach (var cursor in AdmitActiveCursors())
        {
            if (cursor.NeedsCompaction(maxBacklog)) cursor.CompactAccepted(lastSequence, maxBytes, maxBacklog);
            if (!cursor.HasMissed && cursor.Behind <= maxBacklog) continue;
            switch (WhenSlow(cursor))
            {
                case SlowConsumer.SkipToLatest when !cursor.IsLost:
                    skipped += cursor.SkipToLatest();
                    break;
                case SlowConsumer.Conflate when !cursor.HasMissed:
                    var isCompacted = cursor.TryCompact(lastSequence, maxBytes, out var dropped, out var isComplete);
                    replaced += dropped;
                    if (!isCompacted || !isComplete) return false;
                    break;
                default:
                    return false;
            }
        }

        HasMissed = false;
        return true;
    }

    /// <summary>
    /// Rewinds to the unacknowledged messages. Returns false if some of these messages are no longer available.
    /// </summary>
    public bool TryRewind()
    {
        AdmitCursors();
        foreach (var cursor in Cursors) Activate(cursor);
        // Open the logs of transient messages before the rewind. The rewind then skips the transient messages that were
        // published while the client had no transport.
        if (_clock.HasTransientLogs) OpenTransientLogs();
        if (Resend?.TryRewind() is not true) return false;
        HasMissed = false;
        return true;
    }

    /// <inheritdoc cref="TryTake(long, out EntryRun, out Cursor, FrameCompression, RunBuffer)"/>
    public bool TryTake(
        long lastSequence, out EntryRun run, FrameCompression? compression = null, RunBuffer? buffer = null) =>
        TryTake(lastSequence, out run, out _, compression, buffer);

    /// <summary>Takes the next consecutive messages. Returns false if no message is available now.</summary>
    /// <remarks>
    /// This method reads the newest sequence number first, then the new cursors and the announcements, and then the
    /// ends of the logs. A message above the newest sequence number waits for the next iteration. Otherwise, the reader
    /// could return the message before an earlier message of a log that the reader has already checked.
    /// <para>
    /// Two threads may append to two logs at the same time, and the append of the higher number may end first. A client
    /// that acknowledges messages would drop the lower number as a duplicate. For such a client, this method waits
    /// until the other append has ended.
    /// </para>
    /// </remarks>
    /// <param name="lastSequence">The highest sequence number to take.</param>
    /// <param name="run">The messages.</param>
    /// <param name="source">
    /// The cursor that has read the messages. The messages are the last <see cref="EntryRun.Messages"/> entries before
    /// the current index of the cursor. Valid only if the method returns true. Null for the opening of a cursor.
    /// </param>
    /// <param name="compression">The compression of the transport. Null without compression.</param>
    /// <param name="buffer">
    /// Joins the short runs that a filter leaves. The bytes are valid until the next call with this buffer. Null to
    /// return only bytes of the logs.
    /// </param>
    public bool TryTake(
        long lastSequence,
        out EntryRun run,
        out Cursor? source,
        FrameCompression? compression = null,
        RunBuffer? buffer = null)
    {
        (run, source) = (default, null);
        while (run.IsEmpty)
        {
            var newest = Math.Min(_clock.Last, lastSequence);
            AdmitActiveCursors();
            Cursor? first = null, appending = null;
            long firstSequence = long.MaxValue, secondSequence = long.MaxValue;
            for (var i = _activeCount - 1; i >= 0; i--)
            {
                var cursor = _cursors[i];
                if (cursor.HasOpening)
                {
                    // A close request ends the hold, so that the client receives all messages before the close frame.
                    if (HoldsOpening && lastSequence == long.MaxValue) return false;
                    run = new EntryRun(cursor.TakeOpening(), 0, 0);
                    return true;
                }

                // Read IsAppending before the entries. If the value is false, the reader can find every message of the
                // log up to the newest number.
                var isAppending = (cursor.IsTracked || Resend is not null) && cursor.IsAppending;
                if (cursor.TryPeek(out var sequence))
                {
                    // Prefer the copy with a position. Without the position, the client would ask for this message
                    // again after a reconnect.
                    if (sequence < firstSequence || (sequence == firstSequence && cursor.IncludesPosition))
                        (first, firstSequence, secondSequence) = (cursor, sequence, firstSequence);
                    else if (sequence < secondSequence)
                        secondSequence = sequence;
                }
                else if (cursor.HasMissed)
                {
                    HasMissed = true;
                    IsLost |= cursor.IsLost;
                    return false;
                }
                else if (cursor.HasLeft)
                {
                    if (!RemoveUnlessNeeded(i) && cursor.IsTracked) Deactivate(i);
                }
                else if (isAppending)
                {
                    if (Resend is not null) appending = cursor;
                }
                else if (cursor == _privateLog)
                {
                    cursor.Subscriber.OnPrivateLogRead(cursor.ReadByte);
                }
                else if (cursor.IsTracked)
                {
                    Deactivate(i);
                }
            }

            if (first is null || firstSequence > lastSequence)
            {
                TrimPrivateLog();
                return false;
            }

            if (appending is not null) appending.WaitForAppend();
            else if (firstSequence <= newest)
                run = Take(source = first, firstSequence, Math.Min(newest, secondSequence - 1), compression, buffer);
        }

        Resend?.OnTaken();
        return true;
    }

    SlowConsumer WhenSlow(Cursor cursor) =>
        PrefersOwnSetting ? (SlowConsumer)_whenSlow : cursor.WhenSlow ?? (SlowConsumer)_whenSlow;

    /// <summary>
    /// Returns the first position that the client does not have yet, in the format of the client. Returns empty memory
    /// if the client already has every position: see <see cref="Cursor.TakePosition"/>.
    /// </summary>
    public ReadOnlyMemory<byte> TakePosition()
    {
        foreach (var cursor in Cursors)
        {
            if (cursor.TakePosition() is { IsEmpty: false } position) return position;
        }

        return default;
    }

    EntryRun Take(
        Cursor cursor, long sequence, long lastSequence, FrameCompression? compression, RunBuffer? buffer)
    {
        // A subscriber that has left a group and joined the group again has two cursors in one log. Both cursors may be
        // at the same sequence number. So take at least the message with this number.
        var last = Math.Max(sequence, lastSequence);
        if (cursor.IsAtCopy)
        {
            last = sequence;
            // The filter of another cursor may accept the message. So skip only the copy of this cursor.
            if (cursor.TrySkipRejected()) return default;
            if (cursor.Copy is not { } copy)
            {
                if (!TrySkipCopies(cursor, sequence)) return default;
            }
            else if (!IsFirstCopy(cursor, copy, sequence))
            {
                cursor.Skip();
                return default;
            }
        }

        return cursor.Take(last, Resend?.Acknowledgements, compression, buffer);
    }

    /// <summary>True if the reader has not taken another copy of a message whose copies arrive one by one.</summary>
    bool IsFirstCopy(Cursor at, EntryCopy copy, long sequence)
    {
        for (var earlier = copy.Earlier; earlier is not null; earlier = earlier.Earlier)
        {
            foreach (var cursor in Cursors)
            {
                if (cursor.Covers(earlier, at)) return false;
            }
        }

        // The reader may have taken a copy from a group that the subscriber has left in the meantime.
        _takenCopies ??= new (long, long)[RememberedCopies];
        foreach (var (id, taken) in _takenCopies)
        {
            // The same sequence number means the same copy. The reader reads this copy again after a rewind.
            if (id == copy.Id) return taken == sequence;
        }

        _takenCopies[_nextCopy++ % _takenCopies.Length] = (copy.Id, sequence);
        return true;
    }

    /// <summary>
    /// Skips the copies of a message in the other logs. All copies are readable, so each copy is the next entry of its
    /// cursor. Returns false if an older message is now readable in another log. The reader then takes the older
    /// message first.
    /// </summary>
    bool TrySkipCopies(Cursor first, long sequence)
    {
        foreach (var cursor in _cursors.AsSpan(0, _activeCount))
        {
            if (cursor == first || !cursor.TryPeek(out var other)) continue;
            if (other < sequence) return false;
            if (other == sequence) cursor.Skip();
        }

        return true;
    }

    void Admit()
    {
        for (var added = Interlocked.Exchange(ref _newCursors, null); added is not null; added = added.Next)
        {
            var cursor = added.Cursor;
            if (cursor.ReaderIndex < _count && _cursors[cursor.ReaderIndex] == cursor)
            {
                Activate(cursor);
                continue;
            }

            // A leave first marks the cursor and then adds the cursor again. In between, the reader may have released
            // the cursor.
            if (cursor.IsReleased) continue;
            if (IsClosed || (cursor.HasLeft && !cursor.NeedsOpening))
            {
                cursor.Release();
                continue;
            }

            Insert(cursor);
        }
    }

    void Insert(Cursor cursor)
    {
        Resend?.OnAdding(cursor);
        if (cursor.HasFilter) HasFilters = true;
        if (_count == _cursors.Length) Array.Resize(ref _cursors, _count * 2);
        (_cursors[_count], cursor.ReaderIndex) = (cursor, _count);
        _count++;
        Activate(cursor);
        if (cursor.Set is { } set) set.Add(cursor);
        else _privateLog = cursor;
        Track(cursor);
    }

    /// <summary>
    /// Opens the cursors in the logs of transient messages. If such a log is new, its group has announced a message to
    /// the cursor in the main log. So the cursor in the main log is active.
    /// </summary>
    void OpenTransientLogs()
    {
        for (var i = _activeCount - 1; i >= 0; i--)
        {
            if (_cursors[i].TryOpenTransient() is { } opened) Insert(opened);
        }
    }

    /// <summary>
    /// Activates the cursor in the log of transient messages, because the subscriber has left the group. The reader
    /// then detects the leave and removes this cursor.
    /// </summary>
    void CheckTransientCursor(Cursor left)
    {
        foreach (var cursor in Cursors)
        {
            if (cursor != left && !cursor.IsActive && cursor.SharesMembership(left)) Add(cursor);
        }
    }

    void Track(Cursor added)
    {
        if (_count <= MaxUntrackedLogs) return;
        added.Track();
        if (_count > MaxUntrackedLogs + 1) return;
        foreach (var cursor in Cursors) cursor.Track();
    }

    /// <summary>
    /// Takes over new cursors, activates the cursors of logs with announced messages, and opens the cursors in new logs
    /// of transient messages. Returns the active cursors.
    /// </summary>
    /// <remarks>
    /// Invariant: an inactive cursor has read every message that is not announced. Only tracked cursors are inactive.
    /// </remarks>
    ReadOnlySpan<Cursor> AdmitActiveCursors()
    {
        AdmitCursors();
        if (_activeCount < _count) _cursors[_count - 1].Set!.ActivateAnnounced();
        if (_clock.HasTransientLogs) OpenTransientLogs();
        return _cursors.AsSpan(0, _activeCount);
    }

    /// <summary>Stops checking the log of a cursor until the group announces the next message.</summary>
    void Deactivate(int index)
    {
        _cursors[index].IsActive = false;
        Swap(index, --_activeCount);
    }

    void Swap(int left, int right)
    {
        var (moved, other) = (_cursors[left], _cursors[right]);
        (_cursors[right], moved.ReaderIndex) = (moved, right);
        (_cursors[left], other.ReaderIndex) = (other, left);
    }

    void TrimPrivateLog()
    {
        if (_privateLog is not { } cursor) return;
        if (Resend?.Acknowledgements is not { IsTracking: true } acknowledgements
            || cursor.Bookmark is not { } bookmark)
        {
            cursor.TrimPrivateLog();
            return;
        }

        bookmark.Advance(cursor, acknowledgements.Acknowledged);
        if (bookmark.CountTo(cursor) > 0) return;
        cursor.TrimPrivateLog();
        bookmark.Advance(cursor, acknowledgements.Acknowledged);
    }

    void RemoveAt(int index)
    {
        var cursor = _cursors[index];
        if (cursor.IsActive) Deactivate(index);
        Swap(cursor.ReaderIndex, --_count);
        _cursors[_count] = null!;
        cursor.Set?.Remove(cursor);
        cursor.Release();
    }

    sealed record NewCursor(Cursor Cursor, NewCursor? Next);
}
