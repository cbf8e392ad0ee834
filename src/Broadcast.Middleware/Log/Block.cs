using System.Buffers;

namespace Broadcast.Middleware;

/// <summary>
/// A piece of a log: encoded frames that stand next to each other, and an index with one entry per message.
/// One writer at a time (under its log's lock); any number of readers, which take none.
/// </summary>
/// <remarks>
/// Readers see an entry only after <see cref="Count"/> counts it, and it never changes afterwards. Once <see cref="Next"/> is set,
/// the count is final. Nobody counts references: a block that no cursor stands on, or before, is garbage.
/// </remarks>
sealed class Block
{
    /// <summary>Follows a block whose successors the log has dropped: a reader that arrives here has missed messages.</summary>
    public static readonly Block Cut = new(0, 0, 0);

    /// <summary>Follows the last block of a log that has broken off, because the cluster has lost what comes next.</summary>
    public static readonly Block Lost = new(0, 0, 0);

    /// <summary>Whether it is one of these two.</summary>
    public bool IsGap => this == Cut || this == Lost;

    /// <summary>What a message takes beside its frame.</summary>
    public const int EntrySize = 32;

    const int BytesPerEntryGuess = 256;

    readonly byte[] _data;
    Entry[] _entries;
    string?[]? _keys; // Few broadcasts have keys.
    long[]? _offsets; // A block that was made for one reader has gaps.
    Encoding? _encodings;
    int _count;
    Block? _next;

    public Block(int capacity, long firstOffset, long firstByte)
    {
        _data = capacity == 0 ? [] : GC.AllocateUninitializedArray<byte>(capacity);
        _entries = capacity == 0 ? [] : new Entry[Math.Max(2, capacity / BytesPerEntryGuess)];
        FirstOffset = firstOffset;
        FirstByte = firstByte;
    }

    /// <summary>That bookmarks lie here; see <see cref="Retention"/>.</summary>
    public Retention.Pin? Pin { get; set; }

    /// <summary>Whether it was made for one reader, and belongs to no log.</summary>
    public bool IsOwn => _offsets is not null;

    /// <summary>The offset of this block's first message in its log.</summary>
    public long FirstOffset { get; }

    /// <summary>How many bytes the log took before this block, entries included.</summary>
    public long FirstByte { get; }

    public int Capacity => _data.Length;

    public int Count => Volatile.Read(ref _count);

    public Block? Next => Volatile.Read(ref _next);

    /// <summary>Where in the next block a reader goes on: at its start, but after a block that was made for one reader.</summary>
    public int NextIndex { get; private set; }

    /// <summary>Whether some message in here is not for everyone; read it after <see cref="Count"/>.</summary>
    public bool HasExclusions { get; private set; }

    /// <summary>How many bytes the first <paramref name="count"/> messages take, with their entries.</summary>
    public long CostOf(int count) => EndOf(count) + ((long)count * EntrySize);

    /// <summary>The bytes of frames. The writer's view; a reader asks <see cref="EndOf"/>.</summary>
    public int Length { get; private set; }

    public ref readonly Entry this[int index] => ref _entries[index];

    /// <summary>Where the bytes of the first <paramref name="count"/> messages end.</summary>
    public int EndOf(int count) => count == 0 ? 0 : _entries[count - 1].End;

    /// <summary>See <see cref="Message.Key"/>.</summary>
    public string? KeyOf(int index) => _keys?[index];

    public int SizeOf(int index) => EndOf(index + 1) - EndOf(index);

    /// <summary>The offset of a message in its log.</summary>
    public long OffsetOf(int index) => _offsets is null ? FirstOffset + index : _offsets[index];

    /// <summary>A message's bytes, which are not to be kept longer than the block.</summary>
    public ReadOnlyMemory<byte> PayloadOf(int index, out MessageType type)
    {
        ReadOnlyMemory<byte> frame = _data.AsMemory(EndOf(index), SizeOf(index));
        return Frame.Next(ref frame, out type);
    }

    public Run Run(int from, int to)
    {
        if (from == to) return default;
        var start = EndOf(from);
        return new(_data.AsMemory(start, EndOf(to) - start), to - from, _entries[from].PublishedAt);
    }

    /// <summary>The same in another format; encoded once, whoever many read it.</summary>
    public Run Run(int from, int to, WireFormat format, MessageLog log) =>
        from == to ? default : new(EncodingIn(format).Run(this, log, from, to), to - from, _entries[from].PublishedAt);

    Encoding EncodingIn(WireFormat format)
    {
        while (true)
        {
            var first = Volatile.Read(ref _encodings);
            for (var encoding = first; encoding is not null; encoding = encoding.Next)
            {
                if (encoding.Format == format) return encoding;
            }

            var added = new Encoding(format, first);
            if (Interlocked.CompareExchange(ref _encodings, added, first) == first) return added;
        }
    }

    public void Append(Message message, long sequence, long publishedAt, Exclusions? exclusions)
    {
        var payload = message.Payload.Span;
        Frame.Write(_data.AsSpan(Length), message.Type, payload);
        Length += Frame.Size(payload.Length);
        Add(new Entry(sequence, publishedAt, Length, exclusions), message.Key);
    }

    /// <summary>Appends a message of another block.</summary>
    public void Append(Block from, int index)
    {
        var frame = from._data.AsSpan(from.EndOf(index), from.SizeOf(index));
        frame.CopyTo(_data.AsSpan(Length));
        Length += frame.Length;
        _offsets ??= new long[_entries.Length];
        if (_count == _offsets.Length) Array.Resize(ref _offsets, _count * 2);
        _offsets[_count] = from.OffsetOf(index);
        Add(from._entries[index] with { End = Length }, from.KeyOf(index));
    }

    void Add(Entry entry, string? key)
    {
        if (_count == _entries.Length)
        {
            // Readers hold the old array or the new one; what they may look at is the same in both.
            var larger = new Entry[_entries.Length * 2];
            _entries.CopyTo(larger, 0);
            _entries = larger;
            if (_keys is not null) _keys = [.. _keys, .. new string?[_keys.Length]];
        }

        if (key is not null) (_keys ??= new string?[_entries.Length])[_count] = key;

        _entries[_count] = entry;
        if (entry.Exclusions is not null) HasExclusions = true;
        Volatile.Write(ref _count, _count + 1);
    }

    /// <summary>Ends this block: what follows stands in <paramref name="next"/>, or, with <see cref="Cut"/>, is gone.</summary>
    public void Link(Block next, int index = 0)
    {
        NextIndex = index;
        Volatile.Write(ref _next, next);
    }

    /// <summary>The block's messages in one format, as far as somebody has asked for them.</summary>
    sealed class Encoding(WireFormat format, Encoding? next)
    {
        readonly ArrayBufferWriter<byte> _bytes = new();
        readonly List<int> _ends = [];

        public WireFormat Format => format;

        public Encoding? Next => next;

        public ReadOnlyMemory<byte> Run(Block block, MessageLog log, int from, int to)
        {
            // Two pumps may ask at the same time. What has been handed out stays where it is when the buffer grows.
            lock (_ends)
            {
                while (_ends.Count < to)
                {
                    format.Write(_bytes, log, block, _ends.Count);
                    _ends.Add(_bytes.WrittenCount);
                }

                var start = from == 0 ? 0 : _ends[from - 1];
                return _bytes.WrittenMemory[start.._ends[to - 1]];
            }
        }
    }

    /// <param name="Sequence">The message's place among all messages of the broadcast.</param>
    /// <param name="PublishedAt">See <see cref="SequenceClock.Timestamp"/>.</param>
    /// <param name="End">Where its frame ends in the block.</param>
    /// <param name="Exclusions">Who does not get it; null for nobody.</param>
    public readonly record struct Entry(long Sequence, long PublishedAt, int End, Exclusions? Exclusions);
}
