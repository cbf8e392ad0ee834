using System.Diagnostics;
using Broadcast.Middleware.Logs;

namespace Broadcast.Middleware.Publishing;

/// <summary>
/// Remembers the IDs of published messages for a limited time: see <see cref="Message.Id"/>. The first ID creates the
/// dictionary, so an app without message IDs needs no memory for the dictionary.
/// </summary>
/// <param name="maxIds">The maximum number of IDs. Above this limit, the object forgets the oldest ID.</param>
/// <param name="time">The time provider.</param>
sealed class PublishedIds(int maxIds, TimeProvider time)
{
    readonly Lock _gate = new();
    Dictionary<Key, LinkedListNode<(Key Key, Entry Entry)>>? _entries;
    LinkedList<(Key Key, Entry Entry)>? _oldestFirst; // Contains each entry of the dictionary once.

    /// <summary>The number of IDs, including expired IDs that the object has not removed yet.</summary>
    public int Count
    {
        get
        {
            lock (_gate) return _entries?.Count ?? 0;
        }
    }

    /// <summary>
    /// Claims an ID for a publish, unless an earlier publish has the same ID and the same recipients.
    /// </summary>
    /// <param name="kind">The kind of the recipients.</param>
    /// <param name="name">The group, the user or the connection.</param>
    /// <param name="id">The ID.</param>
    /// <param name="window">How long the object remembers the ID.</param>
    /// <param name="entry">The entry of this publish or of the earlier publish.</param>
    /// <returns>True if the ID is new.</returns>
    public bool TryClaim(RecipientsKind kind, string name, string id, TimeSpan window, out Entry entry)
    {
        var key = new Key(kind, name, id);
        lock (_gate)
        {
            _entries ??= [];
            _oldestFirst ??= new();
            var now = time.GetTimestamp();
            RemoveOldLocked(now, maxIds);
            if (_entries.TryGetValue(key, out var known))
            {
                entry = known.Value.Entry;
                if (entry.Expires > now) return false;
                RemoveLocked(known);
            }

            RemoveOldLocked(now, maxIds - 1);
            entry = new Entry(now + time.ToTimestampDifference(window));
            _entries[key] = _oldestFirst.AddLast((key, entry));
            return true;
        }
    }

    /// <summary>
    /// Returns true if an earlier publish with the same ID and the same recipients is complete: see
    /// <see cref="Entry.IsComplete"/>.
    /// </summary>
    public bool IsComplete(RecipientsKind kind, string name, string id)
    {
        lock (_gate)
        {
            return _entries is not null && _entries.TryGetValue(new(kind, name, id), out var claim)
                && claim.Value.Entry.IsComplete && claim.Value.Entry.Expires > time.GetTimestamp();
        }
    }

    /// <summary>
    /// Removes the claim of <see cref="TryClaim"/>, because the publish has failed and had no effect. This method has
    /// no effect if the claim has expired and another publish has claimed the ID.
    /// </summary>
    public void Release(RecipientsKind kind, string name, string id, Entry entry)
    {
        lock (_gate)
        {
            if (_entries!.TryGetValue(new(kind, name, id), out var claim) && claim.Value.Entry == entry)
                RemoveLocked(claim);
        }
    }

    void RemoveOldLocked(long now, int maxCount)
    {
        while (_oldestFirst!.First is { } oldest && (oldest.Value.Entry.Expires <= now || _entries!.Count > maxCount))
            RemoveLocked(oldest);
    }

    void RemoveLocked(LinkedListNode<(Key Key, Entry Entry)> claim)
    {
        Debug.Assert(_gate.IsHeldByCurrentThread);
        _oldestFirst!.Remove(claim);
        _entries!.Remove(claim.Value.Key);
    }

    readonly record struct Key(RecipientsKind Kind, string Name, string Id);

    /// <summary>Stores the expiration and the result of a publish with an ID.</summary>
    /// <param name="expires">The time stamp at which <see cref="PublishedIds"/> forgets the ID.</param>
    public sealed class Entry(long expires)
    {
        Position? _position;
        volatile bool _isComplete;

        public long Expires => expires;

        /// <summary>
        /// The value of <see cref="IBackplane.ReserveAsync"/>. Only <see cref="InMemoryCluster"/> uses this property.
        /// </summary>
        public byte[]? Value { get; set; }

        /// <summary>The position of the message. Null if the message has no position, or has no position yet.</summary>
        public Position? Position => _isComplete ? _position : null;

        /// <summary>
        /// True after the publish has reached all nodes. A repeated publish then sends nothing.
        /// </summary>
        public bool IsComplete => _isComplete;

        public void Complete(Position? position)
        {
            _position = position;
            _isComplete = true;
        }
    }
}
