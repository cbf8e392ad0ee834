using System.Diagnostics;
using Broadcast.Middleware.Messages;

namespace Broadcast.Middleware.Logs;

/// <summary>The position of one subscriber in one log. Only the thread of the subscriber moves the cursor.</summary>
sealed class Cursor
{
    readonly MessageLog _log;
    readonly CursorOptions? _options;
    Block _block;
    int _index;
    LeaveMark? _leave;

    /// <summary>
    /// Creates a cursor at the end of the log, or at <see cref="CursorOptions.Start"/>. The caller holds the lock of
    /// the log, so the cursor misses no later message.
    /// </summary>
    /// <param name="log">The log.</param>
    /// <param name="subscriber">The owner of the cursor.</param>
    /// <param name="set">The set that visits the cursor when the log has new messages. Null for a private log.</param>
    /// <param name="options">The options. Null for a cursor that starts at the end and reads WebSocket frames.</param>
    /// <param name="leave">
    /// The mark that the cursor in the main log sets when the subscriber leaves. Null for a cursor in a main log.
    /// </param>
    public Cursor(
        MessageLog log,
        ILogSubscriber subscriber,
        ICursorSet? set,
        CursorOptions? options = null,
        LeaveMark? leave = null)
    {
        _log = log;
        _options = options;
        _leave = leave;
        Subscriber = subscriber;
        Set = set;
        (_block, _index) = options?.Start ?? log.End;
        // Clear Start. Otherwise, the options would keep this block and all later blocks in memory.
        if (options is not null) options.Start = null;
    }

    public ILogSubscriber Subscriber { get; }

    public ICursorSet? Set { get; }

    /// <summary>The index of this cursor in its set. Only the set uses this property.</summary>
    public int SetIndex { get; set; }

    /// <summary>The index of this cursor in its reader. Only the reader uses this property.</summary>
    public int ReaderIndex { get; set; }

    /// <summary>
    /// True if the reader must check this log for messages. Only the reader changes this property.
    /// </summary>
    public bool IsActive { get; set; }

    /// <summary>
    /// True if the set announces each message of the log. Code that holds the lock of the log sees the current value.
    /// </summary>
    public bool IsTracked { get; private set; }

    /// <summary>True if the log dropped messages before this cursor read the messages.</summary>
    public bool HasMissed { get; private set; }

    /// <summary>
    /// True if the cursor has reached the end of a broken log. The cluster has lost the next messages.
    /// </summary>
    public bool IsLost { get; private set; }

    /// <summary>See <see cref="LogSettings.WhenSlow"/>.</summary>
    public SlowConsumer? WhenSlow => _log.WhenSlow;

    /// <summary>See <see cref="EntryEncoder.IncludesPosition"/>.</summary>
    public bool IncludesPosition => _options?.Encoder?.IncludesPosition ?? false;

    /// <summary>True if the membership has a subscription filter.</summary>
    public bool HasFilter => _options?.Filter is not null;

    /// <summary>See <see cref="CursorFilter.Filter"/>.</summary>
    public SubscriptionFilter? Filter => _options?.Filter?.Filter;

    /// <summary>See <see cref="CursorFilter.Chosen"/>.</summary>
    public SubscriptionFilter? ChosenFilter => _options?.Filter?.Chosen;

    /// <summary>True if the entry that <see cref="TryPeek"/> found has copies in other logs.</summary>
    public bool IsAtCopy => _block.HasMetadata && HasCopies(_block, _index);

    /// <summary>
    /// Describes the copy at the cursor. Null if the publisher appends all copies at once. Read this property only if
    /// <see cref="IsAtCopy"/> is true.
    /// </summary>
    public EntryCopy? Copy => _block[_index].Metadata!.Copy;

    /// <summary>True if the log is broken and this cursor will reach the end of the log.</summary>
    public bool WillBeLost => _log.IsBroken && LeaveOffset == long.MaxValue;

    /// <summary>True for a cursor in the log of transient messages of a group.</summary>
    public bool IsTransient => _log.IsTransient;

    /// <summary>
    /// True if the group has a log of transient messages, and this subscriber has no cursor in that log yet.
    /// </summary>
    public bool NeedsTransientCursor => _log.Transient is not null && Volatile.Read(ref _leave) is null;

    /// <summary>True if both cursors belong to the same membership.</summary>
    public bool SharesMembership(Cursor other) => _leave is { } leave && leave == other._leave;

    /// <summary>See <see cref="MessageLog.IsAppending"/>.</summary>
    public bool IsAppending => _log.IsAppending;

    /// <summary>
    /// True if the subscriber has left and the cursor has read every message that was published before the leave.
    /// </summary>
    public bool HasLeft => Offset >= LeaveOffset;

    /// <summary>
    /// True after <see cref="Release"/>. A released cursor has no position, so <see cref="HasLeft"/> is meaningless.
    /// </summary>
    public bool IsReleased => _block == Block.None;

    /// <summary>
    /// The number of unread bytes, except for history and the newest message. The value is 0 or less if the cursor is
    /// not behind.
    /// </summary>
    public long Behind => Math.Min(_log.NewestByte, LeaveByte) - Math.Max(ReadByte, _options?.LiveByte ?? 0);

    /// <summary>The block of the next entry.</summary>
    public Block Block => _block;

    /// <summary>The offset of the next entry.</summary>
    public long Offset => _block.FirstOffset + _index;

    /// <summary>
    /// The offset that the next entry has in the log. In a compacted block, this value differs from
    /// <see cref="Offset"/>. In a retained block, both values count the entries as if the entries were directly before
    /// the entry to which the block links.
    /// </summary>
    public long LogOffset => !_block.IsCompacted ? Offset
        : _index < _block.Count ? _block.OffsetOf(_index)
        : _block.Next!.FirstOffset + _block.NextIndex;

    /// <summary>The size of the log in bytes before the next entry.</summary>
    public long ReadByte => _block.FirstByte + _block.CostOf(_index);

    /// <summary>The offset of the first message that the subscriber no longer receives.</summary>
    public long LeaveOffset => Volatile.Read(ref _leave)?.OffsetIn(_log) ?? long.MaxValue;

    /// <summary>The value of <see cref="MessageLog.NewestByte"/> when the subscriber left.</summary>
    public long LeaveByte => Volatile.Read(ref _leave)?.ByteIn(_log) ?? long.MaxValue;

    /// <summary>See <see cref="CursorOptions.Bookmark"/>.</summary>
    public Bookmark? Bookmark => _options?.Bookmark;

    /// <summary>
    /// True if this cursor has no filter, or if the filter accepts an entry. The entry may be in another log.
    /// </summary>
    public bool Accepts(Block block, int index) => _options?.Filter is not { } filter || filter.Accepts(block, index);

    /// <summary>True if the cursor has read a copy or will read the copy.</summary>
    /// <param name="copy">The copy.</param>
    /// <param name="other">The cursor that has found another copy of the same message.</param>
    public bool Covers(EntryCopy copy, Cursor other) =>
        _log.Epoch == copy.Position.Epoch && _log.Name == copy.LogName
        && copy.Position.Offset >= (_options?.FirstOffset ?? long.MaxValue) && copy.Position.Offset < LeaveOffset
        && Accepts(other._block, other._index);

    /// <summary>
    /// Keeps the opening after a leave, because the subscriber continues with another cursor. Call this method before
    /// <see cref="LeaveLocked"/>.
    /// </summary>
    public void KeepOpening()
    {
        if (_options is not null) _options.KeepsOpeningAfterLeave = true;
    }

    /// <summary>
    /// Ends the subscription after the newest message. The caller holds the lock of the log. This method does not end
    /// the subscription to a broken log, because the reader must notice the loss.
    /// </summary>
    public void LeaveLocked()
    {
        Debug.Assert(!NeedsTransientCursor);
        if (_log.IsBroken) return;
        if (_leave is { } leave) leave.SetLocked(_log);
        else Volatile.Write(ref _leave, new LeaveMark(_log));
    }

    /// <summary>
    /// Creates the cursor of this subscriber in the log of transient messages. The caller holds the lock of the log,
    /// and adds the cursor to the reader.
    /// </summary>
    /// <param name="isNewMember">
    /// True if the subscriber joins now. The new cursor then starts at the end. Otherwise, the new cursor starts at the
    /// first message, because the subscriber joined before the log existed.
    /// </param>
    public Cursor OpenTransientLocked(bool isNewMember)
    {
        Debug.Assert(_log.Gate.IsHeldByCurrentThread && NeedsTransientCursor);
        var transient = _log.Transient!;
        var start = isNewMember ? transient.Log.End : transient.TakeStartLocked();
        var leave = new LeaveMark();
        // Both cursors share the mark, so the leave ends both subscriptions at once.
        Volatile.Write(ref _leave, leave);
        var options = new CursorOptions
        {
            Encoder = _options?.Encoder,
            Start = start,
            FirstOffset = start.Block.FirstOffset + start.Index,
            Filter = Filter is { } filter ? new(filter) : null,
        };
        return new Cursor(transient.Log, Subscriber, Set!.ForTransientLog, options, leave);
    }

    /// <summary>
    /// Creates the cursor of this subscriber in the log of transient messages. Returns null if
    /// <see cref="NeedsTransientCursor"/> is false. The caller adds the cursor to the reader.
    /// </summary>
    public Cursor? TryOpenTransient()
    {
        if (!NeedsTransientCursor) return null;
        lock (_log.Gate) return NeedsTransientCursor ? OpenTransientLocked(isNewMember: false) : null;
    }

    /// <summary>
    /// Tracks the log, so that the set of this cursor announces each later message. A private log has no set and cannot
    /// be tracked.
    /// </summary>
    public void Track()
    {
        if (Set is null || IsTracked) return;
        lock (_log.Gate)
        {
            Set.TrackLocked(this);
            IsTracked = true;
        }
    }

    /// <summary>
    /// Finds the next entry. Returns false if no entry is readable yet, if the subscription has ended, or if the cursor
    /// has reached a gap.
    /// </summary>
    public bool TryPeek(out long sequence)
    {
        while (true)
        {
            // Read the successor before the count. A block with a successor gets no more entries, so the count is
            // final.
            var next = _block.Next;
            if (_index < _block.Count)
            {
                ref readonly var entry = ref _block[_index];
                sequence = entry.Sequence;
                return !HasLeft && entry.Metadata is not { IsReadable: false };
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

    /// <summary>Waits until a pending append to the log has ended.</summary>
    public void WaitForAppend()
    {
        // An append holds the lock of the log. The wait is short, because code that holds this lock never waits.
        lock (_log.Gate)
        {
        }
    }

    /// <summary>Moves past the entry that <see cref="TryPeek"/> found.</summary>
    public void Skip() => _index++;

    /// <summary>
    /// Moves past the entry that <see cref="TryPeek"/> found, if the filter of this cursor rejects the entry.
    /// </summary>
    public bool TrySkipRejected()
    {
        if (Accepts(_block, _index)) return false;
        Skip();
        return true;
    }

    /// <summary>
    /// Returns the next entries for this subscriber and moves past these entries. Returns an empty run if the next
    /// entries exclude this subscriber. Call this method after <see cref="TryPeek"/> has found an entry.
    /// </summary>
    /// <param name="lastSequence">The highest sequence number to return.</param>
    /// <param name="acknowledgements">The state of a client that acknowledges messages. Null for other clients.</param>
    /// <param name="compression">The compression of the transport. Null without compression.</param>
    /// <param name="buffer">
    /// Joins the short runs that a filter leaves. Null to return only consecutive entries.
    /// </param>
    public EntryRun Take(
        long lastSequence,
        Acknowledgements? acknowledgements = null,
        FrameCompression? compression = null,
        RunBuffer? buffer = null)
    {
        var run = TakeConsecutive(lastSequence, acknowledgements, compression, int.MaxValue);
        return buffer is null || run.IsEmpty || !HasFilter
            ? run
            : Join(run, buffer, lastSequence, acknowledgements, compression);
    }

    /// <summary>
    /// Takes consecutive entries, up to <paramref name="maxBytes"/> log bytes. Only the first entry may be larger.
    /// </summary>
    EntryRun TakeConsecutive(
        long lastSequence, Acknowledgements? acknowledgements, FrameCompression? compression, int maxBytes)
    {
        // Read the count before the leave mark. If the count includes a message that was published after the leave, the
        // mark is already set.
        var block = _block;
        var count = (int)Math.Min(block.Count, LeaveOffset - block.FirstOffset);
        var from = _index;
        var to = count;
        if (_options?.Filter is { } filter)
        {
            (from, to) = FindAccepted(filter, block, from, count);
        }
        else if (block.HasMetadata)
        {
            while (from < count && Excludes(block, from)) from++;
            to = from;
            // The log reader handles each entry with copies separately. So such an entry ends the run.
            while (to < count && !Excludes(block, to) && (to == _index || !HasCopies(block, to))) to++;
        }

        while (to > from && block[to - 1].Sequence > lastSequence) to--;
        while (to > from + 1 && block.EndOf(to) - block.EndOf(from) > maxBytes) to--;
        var encoder = _options?.Encoder;
        var isOld = false;
        if (acknowledgements is not null && to > from) (to, isOld) = FindNumbers(block, from, to, acknowledgements);
        if (isOld) encoder = encoder?.Unsequenced;
        // Do not compress a compacted block. Only this subscriber reads the block, so no other reader could share the
        // compressed bytes.
        if (compression is not null && !block.IsCompacted) encoder = compression.GetEncoder(encoder, block, from, to);
        var run = encoder is null ? block.Run(from, to) : block.Run(from, to, encoder, _log);
        _index = from + run.Messages;
        if (acknowledgements is not null && run.Messages > 0) OnSent(block, from, _index, isOld, acknowledgements);
        if (_options is null) return run;
        if (_options.Filter is { } accepting && run.Messages > 0) accepting.ReportedOffset = block.OffsetOf(_index - 1);
        // The value 0 excludes history from the latency metric, because the age of history does not show how fast the
        // server is.
        return block.FirstOffset + from < _options.LiveOffset ? run with { PublishedAt = 0 } : run;
    }

    /// <summary>See <see cref="CursorOptions.NeedsOpening"/>.</summary>
    public bool NeedsOpening => _options is { NeedsOpening: true };

    /// <summary>See <see cref="CursorOptions.HasOpening"/>.</summary>
    public bool HasOpening => _options is { HasOpening: true };

    /// <summary>Returns the bytes to send before the first message, if <see cref="HasOpening"/> is true.</summary>
    public ReadOnlyMemory<byte> TakeOpening() => _options!.TakeOpening();

    /// <summary>
    /// Returns the position of the cursor in the format of the client. Returns empty memory if the client already has
    /// this position, or if the format has no positions.
    /// </summary>
    public ReadOnlyMemory<byte> TakePosition()
    {
        if (_options is not { Filter: { } filter, Encoder: { IncludesPosition: true } encoder }) return default;
        if (IsTransient || _block.IsGap) return default;
        // In a retained block, LogOffset is higher than the offsets of the entries. With LogOffset, the client would
        // miss entries.
        var offset = (_block.IsRetained && _index < _block.Count ? _block.OffsetOf(_index) : LogOffset) - 1;
        if (offset <= filter.ReportedOffset) return default;
        filter.ReportedOffset = offset;
        return encoder.EncodePosition(new Position(_log.Epoch, offset));
    }

    /// <summary>
    /// True if the cursor has a filter, and its backlog is large enough for a compaction. The backlog includes rejected
    /// entries, so the accepted entries may be only a small part of the backlog.
    /// </summary>
    /// <param name="maxBacklog">The maximum number of unread bytes of a reader.</param>
    public bool NeedsCompaction(long maxBacklog) => _options?.Filter is { } filter
        && Behind > maxBacklog / 2 && _log.NewestByte >= filter.NextCompaction && !HasMissed;

    /// <summary>
    /// Copies the unread entries that the filter accepts into a compacted block, so that the rejected entries no longer
    /// count as unread.
    /// </summary>
    /// <param name="lastSequence">The highest sequence number to read.</param>
    /// <param name="maxBytes">The maximum size of the compacted block. Further entries stay in the log.</param>
    /// <param name="maxBacklog">The maximum number of unread bytes of a reader.</param>
    public void CompactAccepted(long lastSequence, int maxBytes, long maxBacklog)
    {
        _options!.Filter!.NextCompaction = _log.NewestByte + (maxBacklog / 4);
        TryCompact(lastSequence, maxBytes, replacesKeys: false, out _, out _);
    }

    /// <summary>
    /// Copies the unread entries into a compacted block. The copy omits entries that a newer entry with the same key
    /// replaces. The log can then drop the originals. Returns false if the log has already dropped some unread entries.
    /// </summary>
    /// <param name="lastSequence">The highest sequence number to read.</param>
    /// <param name="maxBytes">The maximum size of the compacted block. Further entries stay in the log.</param>
    /// <param name="replaced">The number of entries that the copy omits.</param>
    /// <param name="isComplete">True if the compacted block covers all unread entries.</param>
    public bool TryCompact(long lastSequence, int maxBytes, out long replaced, out bool isComplete) =>
        TryCompact(lastSequence, maxBytes, replacesKeys: true, out replaced, out isComplete);

    bool TryCompact(long lastSequence, int maxBytes, bool replacesKeys, out long replaced, out bool isComplete)
    {
        (replaced, isComplete) = (0, false);
        if (FindUnread(lastSequence) is not { } unread) return false;
        var newestOfKey = new Dictionary<string, int>(StringComparer.Ordinal);
        for (var i = 0; replacesKeys && i < unread.Count - 1; i++)
        {
            if (unread[i].Block.KeyOf(unread[i].Index) is { } key) newestOfKey[key] = i;
        }

        var (size, count) = (0, 0);
        var kept = new List<(Block Block, int Index)>();
        for (; count < unread.Count - 1; count++)
        {
            var (block, index) = unread[count];
            if (replacesKeys && block.KeyOf(index) is { } key && newestOfKey[key] != count)
            {
                replaced++;
                continue;
            }

            if (size + block.SizeOf(index) > maxBytes) break;
            size += block.SizeOf(index);
            kept.Add((block, index));
        }

        var (next, nextIndex) = unread[count];
        isComplete = count == unread.Count - 1;
        var cost = size + ((long)kept.Count * Block.EntrySize);
        // Place the block before the leave mark, so that a subscriber that has left still reads the kept entries.
        var offset = Math.Min(next.FirstOffset + nextIndex, LeaveOffset) - kept.Count;
        var compacted = new Block(size, offset, next.FirstByte + next.CostOf(nextIndex) - cost);
        foreach (var (block, index) in kept)
        {
            // A bookmark counts retained entries as if the entries were directly before the linked entry: see
            // LogOffset.
            var entryOffset = Bookmark is null ? block.OffsetOf(index) : NumberOf(block, index);
            compacted.Append(block, index, entryOffset);
        }

        compacted.Link(next, nextIndex);
        (_block, _index) = (compacted, 0);
        return true;
    }

    /// <summary>
    /// Moves to the newest entry for this subscriber. Returns the number of skipped entries that this subscriber would
    /// otherwise receive. Call <see cref="PrepareToSkip"/> first.
    /// </summary>
    public long SkipToLatest()
    {
        var (latest, index) = FindLatest();
        var end = Math.Min(latest.FirstOffset + index, LeaveOffset);
        var skipped = Math.Max(0, end - Offset);
        var (passed, first) = ((Block?)_block, _index);
        while (passed is { IsGap: false } && passed.FirstOffset < end)
        {
            if (passed.HasMetadata || HasFilter)
            {
                for (var i = first; i < passed.Count && passed.FirstOffset + i < end; i++)
                {
                    if (IsExcluded(passed, i)) skipped--;
                }
            }

            first = passed.NextIndex;
            passed = passed.Next;
        }

        MoveTo(latest, index);
        HasMissed = false;
        return skipped;
    }

    /// <summary>Makes the log keep its newest messages for <see cref="SkipToLatest"/>.</summary>
    public void PrepareToSkip() => _log.LinkGap();

    /// <summary>Lets the private log free the entries that its only reader has read.</summary>
    public void TrimPrivateLog()
    {
        if (_block.Capacity == 0) return;
        lock (_log.Gate) _log.TrimReadLocked(_block, _index);
        TryPeek(out _);
    }

    /// <summary>Moves the cursor to the end of the log.</summary>
    public void SkipToEnd()
    {
        lock (_log.Gate) (_block, _index) = _log.End;
        HasMissed = false;
    }

    /// <summary>Moves the cursor to another entry of the log.</summary>
    public void MoveTo(Block block, int index) => (_block, _index) = (block, index);

    /// <summary>
    /// Goes back to the bookmark, so that the cursor reads the unacknowledged messages again. Returns false if the log
    /// has released some of these messages.
    /// </summary>
    public bool TryRewind()
    {
        if (_options?.Bookmark is not { Block: { } block } bookmark) return false;
        lock (_log.Gate)
        {
            bookmark.OnRewind(LogOffset, _log.NextOffset);
            _options.LiveByte = _log.EndByte;
        }

        MoveTo(block, bookmark.Index);
        HasMissed = false;
        return true;
    }

    /// <summary>
    /// Sets the bookmark at the cursor. Returns false if the cursor has no bookmark, is in a compacted block, or is at
    /// a gap.
    /// </summary>
    public bool TrySetBookmark()
    {
        if (_options?.Bookmark is not { } bookmark) return false;
        TryPeek(out _);
        if (_block.IsCompacted || _block.IsGap) return false;
        lock (_log.Gate)
        {
            if (Bookmark.FindLogBlock(_block).Next is { IsGap: true }) return false;
            bookmark.SetLocked(_block, _index);
        }

        return true;
    }

    /// <summary>
    /// Releases all blocks. The cursor then keeps no block in memory, even while its membership still exists.
    /// </summary>
    public void Release()
    {
        Bookmark?.Clear();
        // The log of transient messages keeps its first block until each member has opened its cursor. So open the
        // cursor, although no reader needs the cursor.
        TryOpenTransient();
        MoveTo(Block.None, 0);
    }

    /// <summary>
    /// Checks whether the reader must send the first entry without its sequence number. The method also returns the
    /// index after the last entry to which the same result applies.
    /// </summary>
    (int To, bool IsOld) FindNumbers(Block block, int from, int to, Acknowledgements acknowledgements)
    {
        var isOld = IsOldNumber(block, from, acknowledgements);
        if (block[from].Sequence > acknowledgements.HighestSent) return (to, isOld);
        var end = from + 1;
        while (end < to && IsOldNumber(block, end, acknowledgements) == isOld) end++;
        return (end, isOld);
    }

    /// <summary>Records the entries that the reader is about to send.</summary>
    void OnSent(Block block, int from, int to, bool isOld, Acknowledgements acknowledgements)
    {
        if (IsTransient)
        {
            // The server never sends a transient message again, so the message does not count as unacknowledged.
            if (!isOld) acknowledgements.OnSent(block[to - 1].Sequence, 0, 0, 0);
            return;
        }

        if (isOld)
        {
            acknowledgements.OnSentWithoutNumber();
            return;
        }

        if (!block.HasMetadata)
        {
            var sequence = block[to - 1].Sequence;
            acknowledgements.OnSent(sequence, sequence, to - from, block.CostOf(to) - block.CostOf(from));
            return;
        }

        var (last, stored, messages, bytes) = (from - 1, 0L, 0, 0L);
        for (var i = from; i < to; i++)
        {
            var metadata = block[i].Metadata;
            // An answer has a number, but the client does not receive the number and cannot acknowledge the answer.
            if (metadata is { IsVerbatim: true }) continue;
            last = i;
            if (metadata is { IsTransient: true }) continue;
            stored = block[i].Sequence;
            messages++;
            bytes += block.CostOf(i + 1) - block.CostOf(i);
        }

        if (last >= from) acknowledgements.OnSent(block[last].Sequence, stored, messages, bytes);
    }

    /// <summary>
    /// True if the client would drop this entry as a duplicate, because the reader has already sent this number or a
    /// higher number. If the server sent the entry on an earlier transport, only the numbers on the current transport
    /// count.
    /// </summary>
    bool IsOldNumber(Block block, int index, Acknowledgements acknowledgements)
    {
        var wasSentBefore = NumberOf(block, index) < (Bookmark?.SentBefore ?? 0);
        return block[index].Sequence <= (wasSentBefore ? acknowledgements.LastSent : acknowledgements.HighestSent);
    }

    /// <summary>
    /// Returns the unread entries for this subscriber, followed by the end of the log. Returns null if the log has
    /// dropped some of these entries.
    /// </summary>
    List<(Block Block, int Index)>? FindUnread(long lastSequence)
    {
        Block end;
        int endIndex;
        lock (_log.Gate) (end, endIndex) = _log.End;
        var unread = new List<(Block, int)>();
        for (var (block, index) = (_block, _index); ; (block, index) = (block.Next!, block.NextIndex))
        {
            if (block.IsGap) return null;
            var count = block == end ? endIndex : block.Count;
            for (; index < count; index++)
            {
                var isInRange = block.FirstOffset + index < LeaveOffset && block[index].Sequence <= lastSequence;
                if (isInRange && !IsExcluded(block, index)) unread.Add((block, index));
            }

            if (block != end) continue;
            unread.Add((end, endIndex));
            return unread;
        }
    }

    /// <summary>The value of <see cref="LogOffset"/> at an entry.</summary>
    static long NumberOf(Block block, int index) =>
        block.IsCompacted ? block.OffsetOf(index) : block.FirstOffset + index;

    /// <summary>
    /// Takes further entries, as long as one write can send all entries, and joins their runs in the buffer.
    /// </summary>
    EntryRun Join(
        EntryRun first,
        RunBuffer buffer,
        long lastSequence,
        Acknowledgements? acknowledgements,
        FrameCompression? compression)
    {
        if (first.Frames.Length > RunBuffer.MaxShortRun) return first;
        var (messages, size) = (first.Messages, first.Frames.Length);
        try
        {
            // The log reader handles each entry with copies separately.
            while (size < RunBuffer.MaxBytes && TryPeek(out var sequence) && sequence <= lastSequence && !IsAtCopy)
            {
                var run = TakeConsecutive(lastSequence, acknowledgements, compression, RunBuffer.MaxBytes - size);
                if (run.IsEmpty) continue;
                if (messages == first.Messages) buffer.Start(first.Frames.Span);
                buffer.Add(run.Frames.Span);
                messages += run.Messages;
                size += run.Frames.Length;
            }
        }
        catch (SubscriptionFilterException)
        {
            // Return the entries before the exception. The next call finds the exception again.
        }

        return messages == first.Messages ? first : first with { Frames = buffer.Written, Messages = messages };
    }

    /// <summary>Finds the next consecutive entries that the filter accepts.</summary>
    (int From, int To) FindAccepted(CursorFilter filter, Block block, int from, int count)
    {
        var verdicts = filter.GetVerdicts(block, from, ref count);
        if (verdicts is not null && !block.HasMetadata)
        {
            from = verdicts.FindAccepted(from, count);
            return (from, verdicts.FindRejected(from, count));
        }

        while (from < count && IsRejected(from)) from++;
        // The log reader handles each entry with copies separately. So such an entry ends the run.
        var to = from < count && (from == _index || !HasCopies(block, from)) ? from + 1 : from;
        while (to > from && to < count && !IsRejected(to) && !HasCopies(block, to)) to++;
        return (from, to);

        bool IsRejected(int index) => verdicts?.Accepts(index) is false
            || (block.HasMetadata && Excludes(block, index)) || (verdicts is null && !filter.Accepts(block, index));
    }

    /// <summary>
    /// Finds the newest entry for this subscriber. If the log has dropped unread entries, the method continues with the
    /// oldest block of the log. Returns the end of the log if the method finds no entry.
    /// </summary>
    (Block Block, int Index) FindLatest()
    {
        // The log may grow faster than a filter can evaluate its entries. So do not follow the log beyond this offset.
        var nextOffset = _log.NextOffset;
        (Block Block, int Index)? latest = null;
        for (var (block, first) = (_block, _index); ; (block, first) = (block.Next!, block.NextIndex))
        {
            // Read the successor before the count. A block with a successor gets no more entries.
            var next = block.Next;
            var count = block.Count;
            if (FindLatest(block, first, count) is { } index) latest = (block, index);
            if (next is null || next == Block.Lost) return latest ?? (block, count);
            if (!block.IsGap && !next.IsGap && next.FirstOffset > nextOffset) return latest ?? (block, count);
        }
    }

    /// <summary>Finds the newest entry for this subscriber in a part of a block.</summary>
    int? FindLatest(Block block, int from, int to)
    {
        to = (int)Math.Clamp(LeaveOffset - block.FirstOffset, from, to);
        if (!HasFilter && !block.HasMetadata) return to > from ? to - 1 : null;
        while (--to >= from)
        {
            if (!IsExcluded(block, to)) return to;
        }

        return null;
    }

    static bool HasCopies(Block block, int index) => block[index].Metadata is { HasCopies: true };

    /// <summary>True if this subscriber does not receive an entry of the log.</summary>
    public bool IsExcluded(Block block, int index) => Excludes(block, index) || !Accepts(block, index);

    /// <summary>True if the metadata of an entry excludes this subscriber.</summary>
    bool Excludes(Block block, int index)
    {
        if (block[index].Metadata is not { } metadata) return false;
        return metadata.Excludes(Subscriber.Id) || (metadata.IsSentOnce && IsBeforeRewind(block, index));
    }

    /// <summary>
    /// True if the log appended the entry before the last rewind. An answer or transient message from before the rewind
    /// is obsolete.
    /// </summary>
    bool IsBeforeRewind(Block block, int index) => block.FirstOffset + index < (Bookmark?.SentOnceBefore ?? 0);
}
