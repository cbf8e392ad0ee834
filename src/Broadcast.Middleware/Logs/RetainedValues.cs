namespace Broadcast.Middleware.Logs;

/// <summary>
/// The newest message of each key of a log: see <see cref="GroupOptions.RetainLatestPerKey"/>. The lock of the log
/// guards this class.
/// </summary>
/// <remarks>
/// <para>
/// The class copies the frames, so that a value does not keep the block of its message in memory. A new member reads
/// the values from a snapshot: a block whose entries are in the order of their offsets. The snapshot links to the log,
/// so the reader continues at one exact position.
/// </para>
/// <para>
/// New members share a snapshot until the log appends the next message. If a snapshot is large and the log has appended
/// little since the snapshot, a new member may also share this older snapshot. The member then receives the messages
/// after the snapshot one by one. Invariant: all large snapshots in memory together have a limited size. A slow reader
/// keeps its snapshot in memory only until the server applies the <see cref="SlowConsumer"/> setting.
/// </para>
/// </remarks>
/// <param name="limits">The maximum number, size and age of the values.</param>
/// <param name="time">The time provider.</param>
sealed class RetainedValues(GroupOptions limits, TimeProvider time)
{
    // New members do not share an older snapshot below this size, because a new snapshot is cheap.
    const int MinSharedBytes = 16 * 1024;

    // New members share a large snapshot until the log has appended more than one eighth of the snapshot's size.
    const int SharedFraction = 8;

    readonly Dictionary<string, LinkedListNode<Value>> _values = new(StringComparer.Ordinal);

    // The values in the order of their offsets.
    readonly LinkedList<Value> _order = new();

    // The reference is weak because the snapshot links to the log. Otherwise, the snapshot would keep the blocks of the
    // log in memory.
    readonly WeakReference<Block> _snapshot = new(null!);
    long _snapshotByte;
    long _snapshotNextOffset;
    long _bytes;
    long _idleSince = time.GetTimestamp();
    long _nextOffsetAtLastCheck;

    /// <summary>
    /// Returns the maximum number of bytes between a shared snapshot and the end of the log when a new reader joins.
    /// </summary>
    /// <param name="limits">The limits of the values.</param>
    public static long MaxSnapshotAge(GroupOptions limits) => limits.MaxRetainedBytes / SharedFraction;

    /// <summary>
    /// Returns the size of a value in bytes. The size includes the key, the index entry, and the metadata.
    /// </summary>
    public static long CostOf(int frameSize, string key, EntryMetadata? metadata = null) =>
        frameSize + key.Length + Block.EntrySize + (metadata?.Cost ?? 0);

    /// <summary>
    /// Returns the reason why the log cannot retain a message. Returns null if the log can retain the message.
    /// </summary>
    /// <param name="message">The message, which has a key.</param>
    /// <param name="metadata">The metadata of the message.</param>
    public string? Problem(Message message, EntryMetadata? metadata)
    {
        if (message.RemoveKey) return null;
        var key = message.Key!;
        _values.TryGetValue(key, out var known);
        var bytes = _bytes - (known?.Value.Cost ?? 0) + CostOf(Frame.Size(message.Payload.Length), key, metadata);
        return Problem(limits, _values.Count + (known is null ? 1 : 0), bytes);
    }

    /// <summary>Describes how values exceed their limits. Returns null if the values are within the limits.</summary>
    /// <param name="limits">The limits.</param>
    /// <param name="count">The number of values.</param>
    /// <param name="bytes">The size of the values in bytes.</param>
    public static string? Problem(GroupOptions limits, int count, long bytes)
    {
        if (count > limits.MaxRetainedKeys)
        {
            return $"The group would have {count} keys, and {nameof(GroupOptions.MaxRetainedKeys)} is " +
                $"{limits.MaxRetainedKeys}. Remove a key with {nameof(Message)}.{nameof(Message.RemoveKey)}, publish " +
                "the message without a key, or raise the option.";
        }

        return bytes <= limits.MaxRetainedBytes
            ? null
            : $"The retained values would have {bytes} bytes, and {nameof(GroupOptions.MaxRetainedBytes)} is " +
              $"{limits.MaxRetainedBytes}. Publish a shorter message, remove a key with " +
              $"{nameof(Message)}.{nameof(Message.RemoveKey)}, or raise the option.";
    }

    /// <summary>
    /// Replaces or removes the value of a key. In a cluster, the values may then exceed the limits, because the
    /// backplane has already accepted the message.
    /// </summary>
    /// <param name="message">The message, which has a key.</param>
    /// <param name="offset">The offset of the message. Each call has a higher offset.</param>
    /// <param name="entry">The index item of the message.</param>
    public void Set(Message message, long offset, Block.Entry entry)
    {
        var key = message.Key!;
        if (_values.TryGetValue(key, out var node))
        {
            _bytes -= node.Value.Cost;
            _order.Remove(node);
            if (message.RemoveKey) _values.Remove(key);
        }

        if (message.RemoveKey) return;
        if (node is null) _values.Add(key, node = new(new Value { Key = key }));
        var size = Frame.Size(message.Payload.Length);
        // Most values of a key have the same size. Only this class reads the array, so the new value can overwrite the
        // old value.
        if (node.Value.Frame.Length != size) node.Value.Frame = new byte[size];
        Frame.Write(node.Value.Frame, message.Type, message.Payload.Span);
        (node.Value.Offset, node.Value.Entry) = (offset, entry);
        node.Value.Cost = CostOf(size, key, entry.Metadata);
        _order.AddLast(node);
        _bytes += node.Value.Cost;
    }

    /// <summary>
    /// Returns the first entry for a new reader. The entry is in a snapshot if the log has retained values before the
    /// given entry. Otherwise, the result is the given entry.
    /// </summary>
    /// <param name="block">The block of the first entry that the reader reads from the log.</param>
    /// <param name="index">The index of this entry.</param>
    /// <param name="tail">The newest block of the log.</param>
    public (Block Block, int Index) FindStart(Block block, int index, Block tail)
    {
        var offset = block.FirstOffset + index;
        if (_order.First is not { } oldest || oldest.Value.Offset >= offset) return (block, index);
        var nextOffset = tail.FirstOffset + tail.Count;
        var endByte = tail.FirstByte + tail.CostOf(tail.Count);
        if (_snapshot.TryGetTarget(out var shared) && CanShare(shared, offset, nextOffset, endByte)) return (shared, 0);
        var snapshot = CreateSnapshot(block, index, offset);
        _snapshot.SetTarget(snapshot);
        (_snapshotByte, _snapshotNextOffset) = (endByte, nextOffset);
        return (snapshot, 0);
    }

    /// <summary>
    /// True if the group may discard its values. Either the group has no values, or the group has had no members and no
    /// new messages for the maximum age.
    /// </summary>
    /// <param name="hasMembers">True if the group has members.</param>
    /// <param name="nextOffset">The offset of the next message of the log.</param>
    public bool IsExpired(bool hasMembers, long nextOffset)
    {
        if (_values.Count == 0) return true;
        if (hasMembers || nextOffset != _nextOffsetAtLastCheck)
        {
            (_idleSince, _nextOffsetAtLastCheck) = (time.GetTimestamp(), nextOffset);
            return false;
        }

        return limits.RetainedAge != Timeout.InfiniteTimeSpan && time.GetElapsedTime(_idleSince) > limits.RetainedAge;
    }

    bool CanShare(Block snapshot, long offset, long nextOffset, long endByte)
    {
        var next = snapshot.FirstOffset + snapshot.Count;
        if (next == offset && nextOffset == _snapshotNextOffset) return true;
        if (offset != nextOffset || snapshot.Length < MinSharedBytes) return false;
        // In a cluster, a snapshot may be larger than the limit.
        var maxAge = Math.Min(snapshot.Length / SharedFraction, MaxSnapshotAge(limits));
        if (next != _snapshotNextOffset || endByte - _snapshotByte > maxAge) return false;
        // The log may have dropped a block after the snapshot.
        var block = snapshot.Next;
        while (block is { IsGap: false } && block.FirstOffset + block.Count < nextOffset) block = block.Next;
        return block is { IsGap: false };
    }

    Block CreateSnapshot(Block block, int index, long offset)
    {
        var (size, count) = (0, 0);
        for (var node = _order.First; node is not null && node.Value.Offset < offset; node = node.Next)
        {
            size += node.Value.Frame.Length;
            count++;
        }

        var cost = size + ((long)count * Block.EntrySize);
        var snapshot = Block.CreateRetained(
            size, count, offset - count, block.FirstByte + block.CostOf(index) - cost);
        for (var node = _order.First; node is not null && node.Value.Offset < offset; node = node.Next)
        {
            var value = node.Value;
            snapshot.Append(value.Frame, value.Entry, value.Key, value.Offset);
        }

        snapshot.Link(block, index);
        return snapshot;
    }

    sealed class Value
    {
        public required string Key { get; init; }

        public byte[] Frame { get; set; } = [];

        public long Offset { get; set; }

        public Block.Entry Entry { get; set; }

        public long Cost { get; set; }
    }
}
