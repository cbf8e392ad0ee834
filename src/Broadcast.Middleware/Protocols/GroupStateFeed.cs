using System.Buffers;
using System.Diagnostics.CodeAnalysis;
using Broadcast.Middleware.Presence;

namespace Broadcast.Middleware.Protocols;

/// <summary>Stores the states of the members of a group as JSON, and sends them to the subscribed clients.</summary>
/// <remarks>
/// The feed keeps the items in the order of their last change. So each subscription stores only the versions of the
/// last sent changes. A <see cref="PresenceWatcher"/> for each subscriber would instead store every member. If all
/// members subscribed, the memory would grow with the square of the member count. The feed writes the JSON of an item
/// once for all subscribers.
/// <para>
/// After a network problem, thousands of clients may subscribe at once. So these clients share one encoded snapshot. A
/// snapshot may be a little older than the states. Its subscribers then receive the later changes as an update.
/// </para>
/// </remarks>
sealed class GroupStateFeed(string group) : StateFeed
{
    // The feed forgets the oldest removals if the removed items outnumber the items with a state by more than this
    // number. A snapshot is then smaller than the list of removals.
    const int MinRemovedItems = 256;

    // The feed encodes a new snapshot when more than 1/16 of the states have changed. So many clients can share a
    // snapshot, even while states change.
    const int MaxSnapshotAge = 16;

    // Joins, leaves and changes wait for this lock. Invariant: a thread that holds this lock encodes at most one item.
    readonly Lock _gate = new();

    // The thread that encodes a snapshot holds this lock. The thread takes this lock before _gate.
    readonly Lock _encoding = new();
    readonly Dictionary<string, LinkedListNode<Item>> _items = new(StringComparer.Ordinal);
    readonly LinkedList<Item> _set = new();
    readonly LinkedList<Item> _removed = new();
    readonly HashSet<GroupStateSubscription> _subscriptions = [];
    long _version;
    long _forgottenVersion;
    GroupStateSnapshot? _snapshot; // Null if more than 1/16 of the states have changed.

    public override bool HasSubscriptions
    {
        get
        {
            lock (_gate) return _subscriptions.Count > 0;
        }
    }

    public void Add(GroupStateSubscription subscription)
    {
        lock (_gate) _subscriptions.Add(subscription);
        subscription.OnChanged();
    }

    public void Remove(GroupStateSubscription subscription)
    {
        lock (_gate) _subscriptions.Remove(subscription);
    }

    /// <summary>Sends the subscriber a new snapshot.</summary>
    public void Restart(GroupStateSubscription subscription)
    {
        lock (_gate) subscription.SentRemovalVersion = GroupStateSubscription.None;
        subscription.OnChanged();
    }

    public override void Set(string connectionId, string? userId, ReadOnlyMemory<byte> state, DateTimeOffset at)
    {
        var isSet = GroupState.IsValid(state);
        lock (_gate)
        {
            var known = _items.GetValueOrDefault(connectionId);
            if (!isSet && known?.List != _set) return;
            known?.List!.Remove(known);
            _version++;
            var json = WriteItem(connectionId, userId, isSet ? state : default, at);
            var item = new Item(connectionId, json, _version, known?.Value.FirstVersion ?? _version);
            _items[connectionId] = (isSet ? _set : _removed).AddLast(item);
            ForgetOldest();
            if (!IsFreshLocked(_snapshot)) _snapshot = null;
            foreach (var subscription in _subscriptions) subscription.OnChanged();
        }
    }

    /// <summary>
    /// Returns the next message for a subscriber: the latest change of each member, oldest change first. Returns empty
    /// memory if no change remains.
    /// </summary>
    /// <param name="subscription">The subscription.</param>
    /// <param name="maxBytes">The approximate maximum size. A single larger change still becomes a message.</param>
    /// <param name="hasMore">True if more changes remain.</param>
    public ReadOnlyMemory<byte> Take(GroupStateSubscription subscription, int maxBytes, out bool hasMore)
    {
        bool isNew;
        lock (_gate) isNew = subscription.SentRemovalVersion < _forgottenVersion;
        if (isNew || subscription.SentVersion < subscription.SnapshotVersion)
        {
            // The other parts can come from a newer snapshot. That snapshot contains all items of the remaining parts,
            // and later changes.
            var snapshot = GetSnapshot();
            subscription.SnapshotVersion = snapshot.Version;
            if (isNew) (subscription.SentVersion, subscription.SentRemovalVersion) = (0, snapshot.Version);
            var items = snapshot.Take(subscription.SentVersion, maxBytes, out var lastVersion);
            subscription.SentVersion = lastVersion;
            if (isNew || !items.IsEmpty)
            {
                lock (_gate) hasMore = Math.Min(lastVersion, subscription.SentRemovalVersion) < _version;
                return WriteMessage(isNew, items.Span);
            }
        }

        return TakeChanges(subscription, maxBytes, out hasMore);
    }

    ReadOnlyMemory<byte> TakeChanges(GroupStateSubscription subscription, int maxBytes, out bool hasMore)
    {
        List<Item> changes;
        long version;
        lock (_gate)
        {
            version = _version;
            changes = FindChangesLocked(subscription.SentVersion, subscription.SentRemovalVersion);
        }

        changes.Sort(static (left, right) => left.Version.CompareTo(right.Version));
        var (count, size) = (0, 0);
        while (count < changes.Count && (count == 0 || size + changes[count].Json.Length <= maxBytes))
            size += changes[count++].Json.Length;
        hasMore = count < changes.Count;
        // After a snapshot, the two versions of a subscription can differ. Never decrease a version.
        var last = hasMore ? changes[count - 1].Version : version;
        subscription.SentVersion = Math.Max(subscription.SentVersion, last);
        subscription.SentRemovalVersion = Math.Max(subscription.SentRemovalVersion, last);
        if (count == 0) return default;
        var items = new ArrayBufferWriter<byte>(size + count);
        for (var i = 0; i < count; i++)
        {
            if (i > 0) items.Write(","u8);
            items.Write(changes[i].Json.Span);
        }

        return WriteMessage(isSnapshot: false, items.WrittenSpan);
    }

    /// <summary>Returns the shared snapshot, or encodes a new snapshot.</summary>
    GroupStateSnapshot GetSnapshot()
    {
        lock (_encoding)
        {
            long version;
            var items = new List<(ReadOnlyMemory<byte> Json, long Version)>();
            lock (_gate)
            {
                if (IsFreshLocked(_snapshot)) return _snapshot;
                version = _version;
                items.EnsureCapacity(_set.Count);
                foreach (var item in _set) items.Add((item.Json, item.Version));
            }

            var snapshot = new GroupStateSnapshot(version, items);
            lock (_gate)
            {
                if (IsFreshLocked(snapshot)) _snapshot = snapshot;
            }

            return snapshot;
        }
    }

    /// <summary>
    /// True if the snapshot is recent. The feed must still have all removals since the snapshot.
    /// </summary>
    bool IsFreshLocked([NotNullWhen(true)] GroupStateSnapshot? snapshot) =>
        snapshot is not null
        && snapshot.Version >= _forgottenVersion
        && _version - snapshot.Version <= _set.Count / MaxSnapshotAge;

    List<Item> FindChangesLocked(long sentVersion, long sentRemovalVersion)
    {
        var changes = new List<Item>();
        for (var node = _set.Last; node?.Value.Version > sentVersion; node = node.Previous) changes.Add(node.Value);
        for (var node = _removed.Last; node?.Value.Version > sentRemovalVersion; node = node.Previous)
        {
            // Skip a removal if the subscriber never received the state.
            if (node.Value.FirstVersion <= sentVersion) changes.Add(node.Value);
        }

        return changes;
    }

    void ForgetOldest()
    {
        while (_removed.Count > MinRemovedItems + _set.Count)
        {
            // A subscriber that has not received this removal gets a snapshot instead.
            var oldest = _removed.First!.Value;
            _removed.RemoveFirst();
            _items.Remove(oldest.ConnectionId);
            _forgottenVersion = oldest.Version;
        }
    }

    static ReadOnlyMemory<byte> WriteItem(
        string connectionId, string? userId, ReadOnlyMemory<byte> state, DateTimeOffset at) =>
        JsonProtocol.Write((connectionId, userId, state, at), static (writer, item) =>
        {
            writer.WriteString("connectionId"u8, item.connectionId);
            if (item.userId is not null) writer.WriteString("userId"u8, item.userId);
            if (!item.state.IsEmpty)
            {
                writer.WritePropertyName("state"u8);
                writer.WriteRawValue(item.state.Span, skipInputValidation: true);
            }

            writer.WriteNumber("updatedAt"u8, item.at.ToUnixTimeMilliseconds());
        });

    /// <param name="isSnapshot">True for the first part of a snapshot.</param>
    /// <param name="items">The JSON of the items, separated by commas.</param>
    byte[] WriteMessage(bool isSnapshot, ReadOnlySpan<byte> items)
    {
        var end = "]}"u8;
        var empty = JsonProtocol.Write((isSnapshot, group), static (writer, message) =>
        {
            writer.WriteString("type"u8, message.isSnapshot ? "groupStateSnapshot"u8 : "groupStateUpdate"u8);
            writer.WriteString("group"u8, message.group);
            writer.WriteStartArray("items"u8);
            writer.WriteEndArray();
        });
        return [.. empty.Span[..^end.Length], .. items, .. end];
    }

    /// <summary>The latest change of one member.</summary>
    /// <param name="ConnectionId">The ID of the member.</param>
    /// <param name="Json">The JSON of the item.</param>
    /// <param name="Version">The version of the last change. One counter numbers all changes of the group.</param>
    /// <param name="FirstVersion">
    /// The version of the first known change. A subscriber with a lower version has never received a state of this
    /// member.
    /// </param>
    sealed record Item(string ConnectionId, ReadOnlyMemory<byte> Json, long Version, long FirstVersion);
}
