using System.Buffers;

namespace Broadcast.Middleware.Logs;

/// <summary>A part of a log: consecutive encoded entries and an index with one item per entry.</summary>
/// <remarks>
/// <para>One thread at a time appends, under the lock of the log. Any number of readers read without a lock.</para>
/// <para>
/// Invariants: an entry is complete before <see cref="Count"/> includes it, and the entry never changes afterwards. The
/// count is final once <see cref="Next"/> is set. Blocks need no reference counting: the garbage collector frees a
/// block that no cursor can reach.
/// </para>
/// </remarks>
sealed class Block
{
    /// <summary>The block of a cursor that has no position: see <see cref="Cursor.Release"/>.</summary>
    public static readonly Block None = CreateGap();

    /// <summary>Marks the end of a broken log: the cluster has lost the next messages.</summary>
    public static readonly Block Lost = CreateGap();

    /// <summary>The number of bytes that an entry uses in addition to its frame.</summary>
    public const int EntrySize = 32;

    const int EstimatedBytesPerEntry = 256;

    // The maximum size of a run of encoded entries or retained values. On some transports, the server detects progress
    // only at the end of a write. A longer write to a slow client could then exceed SendTimeout.
    const int MaxRunBytes = 64 * 1024;

    readonly byte[] _data;
    Entry[] _entries;
    string?[]? _keys; // Null if no entry has a key.
    long[]? _offsets; // Null for a block of the log. In other blocks, the offsets have gaps.
    EncodedEntries? _encodings;
    FilterVerdicts? _verdicts;
    TagSets? _tagSets;
    int _count;
    Block? _next;

    public Block(int capacity, long firstOffset, long firstByte)
    {
        _data = capacity == 0 ? [] : GC.AllocateUninitializedArray<byte>(capacity);
        _entries = capacity == 0 ? [] : new Entry[Math.Max(2, capacity / EstimatedBytesPerEntry)];
        FirstOffset = firstOffset;
        FirstByte = firstByte;
    }

    Block(int capacity, int count, long firstOffset, long firstByte)
        : this(0, firstOffset, firstByte)
    {
        _data = GC.AllocateUninitializedArray<byte>(capacity);
        _entries = new Entry[count];
        _keys = new string?[count];
        _offsets = new long[count];
        IsRetained = true;
    }

    /// <summary>True for a gap: see <see cref="CreateGap"/>.</summary>
    public bool IsGap { get; private init; }

    /// <summary>The pin of a block that has bookmarks: see <see cref="Retention"/>. Null without bookmarks.</summary>
    public Retention.Pin? Pin { get; set; }

    /// <summary>
    /// True for a block that a reader has created from its own backlog. The log does not contain this block.
    /// </summary>
    public bool IsCompacted => _offsets is not null && !IsRetained;

    /// <summary>
    /// True for a block with the retained values of a log: see <see cref="RetainedValues"/>. The log does not contain
    /// this block. <see cref="FirstOffset"/> and <see cref="FirstByte"/> have values as if the entries were directly
    /// before the entry to which the block links.
    /// </summary>
    public bool IsRetained { get; }

    /// <summary>
    /// The offset of the first entry of this block. For a compacted or retained block, use <see cref="OffsetOf"/>.
    /// </summary>
    public long FirstOffset { get; }

    /// <summary>
    /// The size of the log in bytes before this block, including <see cref="EntrySize"/> for each entry.
    /// </summary>
    public long FirstByte { get; }

    public int Capacity => _data.Length;

    public int Count => Volatile.Read(ref _count);

    public Block? Next => Volatile.Read(ref _next);

    /// <summary>
    /// The index in the next block at which a reader continues. The index is 0, except after a compacted or retained
    /// block.
    /// </summary>
    public int NextIndex { get; private set; }

    /// <summary>
    /// True if at least one entry has metadata that a reader must check: see
    /// <see cref="EntryMetadata.AffectsReaders"/>. Read this property after <see cref="Count"/>, so that the value
    /// includes every counted entry.
    /// </summary>
    public bool HasMetadata { get; private set; }

    /// <summary>The numbers of the different tags of the entries. Only filters use this property.</summary>
    public TagSets TagSets =>
        Volatile.Read(ref _tagSets) ?? Interlocked.CompareExchange(ref _tagSets, new(), null) ?? _tagSets;

    /// <summary>
    /// The size of all frames in bytes. Only the appending thread uses this property. Readers use <see cref="EndOf"/>.
    /// </summary>
    public int Length { get; private set; }

    public ref readonly Entry this[int index] => ref _entries[index];

    /// <summary>
    /// The size of the first <paramref name="count"/> entries in bytes, including <see cref="EntrySize"/> for each
    /// entry.
    /// </summary>
    public long CostOf(int count) => EndOf(count) + ((long)count * EntrySize);

    /// <summary>The position in the block data at which the first <paramref name="count"/> entries end.</summary>
    public int EndOf(int count) => count == 0 ? 0 : _entries[count - 1].End;

    /// <summary>See <see cref="Message.Key"/>.</summary>
    public string? KeyOf(int index) => _keys?[index];

    public int SizeOf(int index) => EndOf(index + 1) - EndOf(index);

    /// <summary>The offset of an entry in the log.</summary>
    public long OffsetOf(int index) => _offsets is null ? FirstOffset + index : _offsets[index];

    /// <summary>Returns the WebSocket frame of an entry. The memory belongs to the block.</summary>
    public ReadOnlyMemory<byte> FrameOf(int index) => _data.AsMemory(EndOf(index), SizeOf(index));

    /// <summary>Returns the payload of an entry. The memory belongs to the block.</summary>
    public ReadOnlyMemory<byte> PayloadOf(int index, out MessageType type)
    {
        var (start, end) = (EndOf(index), _entries[index].End);
        type = (MessageType)Frame.Opcode(_data.AsSpan(start));
        var size = Frame.PayloadSize(end - start);
        return _data.AsMemory(end - size, size);
    }

    /// <summary>
    /// Returns the parts of an entry that a subscription filter may read. The payload belongs to the block.
    /// </summary>
    public Message MessageOf(int index)
    {
        var payload = PayloadOf(index, out var type);
        var metadata = _entries[index].Metadata;
        return new Message(payload, type)
        {
            Key = KeyOf(index),
            Tags = metadata?.Tags,
            IsJson = metadata is { IsJson: true },
        };
    }

    /// <summary>
    /// Returns consecutive entries as WebSocket frames. The run of a retained block has at most 64 KiB, or one larger
    /// entry, so the run may end before <paramref name="to"/>.
    /// </summary>
    public EntryRun Run(int from, int to)
    {
        if (from == to) return default;
        var start = EndOf(from);
        if (IsRetained && EndOf(to) - start > MaxRunBytes) to = FindRunEnd(from, to, start + MaxRunBytes);
        return new(_data.AsMemory(start, EndOf(to) - start), to - from, _entries[from].PublishedAt);
    }

    /// <summary>
    /// Returns consecutive entries in another format: at most 64 KiB, or one larger entry. The run may therefore end
    /// before <paramref name="to"/>. The block encodes each entry once for all readers of the format.
    /// </summary>
    public EntryRun Run(int from, int to, EntryEncoder encoder, MessageLog log) =>
        from == to ? default : EntriesOf(encoder).Run(this, log, from, to);

    /// <summary>
    /// Creates a gap: a block without entries that replaces blocks that the log has dropped. A reader that reaches the
    /// gap has missed messages. The gap may link to the oldest block of the log: see <see cref="MessageLog.LinkGap"/>.
    /// </summary>
    public static Block CreateGap() => new(0, 0, 0) { IsGap = true };

    /// <summary>Creates a block for retained values.</summary>
    /// <param name="capacity">The size of all frames in bytes.</param>
    /// <param name="count">The number of entries.</param>
    /// <param name="firstOffset">See <see cref="FirstOffset"/>.</param>
    /// <param name="firstByte">See <see cref="FirstByte"/>.</param>
    public static Block CreateRetained(int capacity, int count, long firstOffset, long firstByte) =>
        new(capacity, count, firstOffset, firstByte);

    /// <summary>
    /// Returns the results of a filter for the entries of this block. All readers share these results. Returns null if
    /// the block already has results for the maximum number of filters.
    /// </summary>
    public FilterVerdicts? VerdictsOf(SubscriptionFilter filter)
    {
        while (true)
        {
            var first = Volatile.Read(ref _verdicts);
            for (var verdicts = first; verdicts is not null; verdicts = verdicts.Next)
            {
                if (verdicts.Filter == filter) return verdicts;
            }

            if (first is { AllowsMore: false }) return null;
            var added = new FilterVerdicts(filter, first);
            if (Interlocked.CompareExchange(ref _verdicts, added, first) == first) return added;
        }
    }

    public void Append(Message message, long sequence, long publishedAt, EntryMetadata? metadata)
    {
        var payload = message.Payload.Span;
        Frame.Write(_data.AsSpan(Length), message.Type, payload);
        Length += Frame.Size(payload.Length);
        Add(new Entry(sequence, publishedAt, Length, metadata), message.Key);
    }

    /// <summary>Appends an entry of another block. This block becomes a compacted block.</summary>
    /// <param name="source">The other block.</param>
    /// <param name="index">The index of the entry in the other block.</param>
    /// <param name="offset">The offset of the entry: see <see cref="OffsetOf"/>.</param>
    public void Append(Block source, int index, long offset)
    {
        _offsets ??= new long[_entries.Length];
        if (_count == _offsets.Length) Array.Resize(ref _offsets, _count * 2);
        Append(source.FrameOf(index).Span, source._entries[index], source.KeyOf(index), offset);
    }

    /// <summary>
    /// Appends an entry to this block, which is a compacted or retained block. The block must have room for the frame
    /// and the entry.
    /// </summary>
    public void Append(ReadOnlySpan<byte> frame, Entry entry, string? key, long offset)
    {
        frame.CopyTo(_data.AsSpan(Length));
        Length += frame.Length;
        _offsets![_count] = offset;
        Add(entry with { End = Length }, key);
    }

    /// <summary>
    /// Ends this block. Readers continue in the next block, or find a gap if <see cref="IsGap"/> is true for that
    /// block.
    /// </summary>
    public void Link(Block next, int index = 0)
    {
        NextIndex = index;
        Volatile.Write(ref _next, next);
    }

    /// <summary>
    /// Returns the index after the last entry that ends at or before a position. The result is at least the index after
    /// the first entry.
    /// </summary>
    int FindRunEnd(int from, int to, int lastByte)
    {
        var (low, high) = (from + 1, to);
        while (low < high)
        {
            var middle = (low + high + 1) / 2;
            if (EndOf(middle) <= lastByte) low = middle;
            else high = middle - 1;
        }

        return low;
    }

    void Add(Entry entry, string? key)
    {
        if (_count == _entries.Length)
        {
            // A reader may hold the old array or the new array. Both arrays have the same entries up to the count.
            var larger = new Entry[_entries.Length * 2];
            _entries.CopyTo(larger, 0);
            _entries = larger;
            if (_keys is not null) _keys = [.. _keys, .. new string?[_keys.Length]];
        }

        if (key is not null) (_keys ??= new string?[_entries.Length])[_count] = key;
        _entries[_count] = entry;
        if (entry.Metadata is { AffectsReaders: true }) HasMetadata = true;
        Volatile.Write(ref _count, _count + 1);
    }

    EncodedEntries EntriesOf(EntryEncoder encoder)
    {
        while (true)
        {
            var first = Volatile.Read(ref _encodings);
            for (var encoding = first; encoding is not null; encoding = encoding.Next)
            {
                if (encoding.Encoder == encoder) return encoding;
            }

            var added = new EncodedEntries(encoder, first);
            if (Interlocked.CompareExchange(ref _encodings, added, first) == first) return added;
        }
    }

    /// <summary>
    /// The entries of the block in another format. A block encodes an entry when the first reader requests the entry.
    /// </summary>
    sealed class EncodedEntries(EntryEncoder encoder, EncodedEntries? next)
    {
        readonly ArrayBufferWriter<byte> _bytes = new();
        readonly List<int> _ends = [];

        public EntryEncoder Encoder => encoder;

        public EncodedEntries? Next => next;

        public EntryRun Run(Block block, MessageLog log, int from, int to)
        {
            // Two pumps may call this method at the same time. Returned memory stays valid when the buffer grows.
            lock (_ends)
            {
                while (_ends.Count < from) EncodeNextLocked(block, log);
                var start = from == 0 ? 0 : _ends[from - 1];
                var limit = start + MaxRunBytes;
                // CostOf adds EntrySize for each entry, so newLimit also bounds the number of tiny entries.
                var newLimit = block.CostOf(_ends.Count) + encoder.MaxNewBytes;
                while (_ends.Count < to
                    && (_ends.Count == from || (_ends[^1] <= limit && block.CostOf(_ends.Count) <= newLimit)))
                    EncodeNextLocked(block, log);
                // Other readers may have encoded more entries than one run can have.
                var end = Math.Min(to, _ends.Count);
                while (end > from + 1 && _ends[end - 1] > limit) end--;
                return new(_bytes.WrittenMemory[start.._ends[end - 1]], end - from, block[from].PublishedAt);
            }
        }

        void EncodeNextLocked(Block block, MessageLog log)
        {
            encoder.Write(_bytes, log, block, _ends.Count);
            _ends.Add(_bytes.WrittenCount);
        }
    }

    /// <summary>The index item of one message.</summary>
    /// <param name="Sequence">The number of the message among all messages of the broadcast.</param>
    /// <param name="PublishedAt">See <see cref="SequenceClock.Timestamp"/>.</param>
    /// <param name="End">The position in the block data at which the frame ends.</param>
    /// <param name="Metadata">The metadata of the message. Null if the message has no metadata.</param>
    public readonly record struct Entry(long Sequence, long PublishedAt, int End, EntryMetadata? Metadata);
}
