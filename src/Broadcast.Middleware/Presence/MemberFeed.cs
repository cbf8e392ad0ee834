using System.Buffers;
using System.Diagnostics.CodeAnalysis;
using System.Text;

namespace Broadcast.Middleware.Presence;

/// <summary>
/// Stores one JSON item for each member of a group. A subscribed client first receives a snapshot of all items, and
/// then each changed item.
/// </summary>
/// <remarks>
/// The feed keeps the items in the order of their last change. So each subscription stores only the versions of the
/// last sent changes. A <see cref="PresenceWatcher"/> for each subscriber would instead store every member. If all
/// members subscribed, the memory would grow with the square of the member count. The feed stores the JSON of an item
/// once for all subscribers.
/// <para>
/// After a network problem, thousands of clients may subscribe at once. So these clients share one encoded snapshot. A
/// snapshot may be a little older than the items. A subscriber then receives the later changes as an update.
/// </para>
/// </remarks>
/// <param name="snapshotHead">
/// The text before the items of a snapshot. The text opens a JSON object and an array.
/// </param>
/// <param name="updateHead">The text before the items of an update. The text opens a JSON object and an array.</param>
/// <param name="isReady">False if subscribers must wait until <see cref="Apply"/> adds the first items.</param>
abstract class MemberFeed(string snapshotHead, string updateHead, bool isReady)
{
    // The feed forgets the oldest removals if the removed items outnumber the other items by more than this number. A
    // snapshot is then smaller than the list of removals.
    const int MinRemovedItems = 256;

    // The feed encodes a new snapshot when more than 1/16 of the items have changed. So many clients can share a
    // snapshot, even while items change.
    const int MaxSnapshotAge = 16;

    readonly byte[] _snapshotHead = Encoding.UTF8.GetBytes(snapshotHead);
    readonly byte[] _updateHead = Encoding.UTF8.GetBytes(updateHead);

    // Joins, leaves and changes wait for this lock. Invariant: a thread that holds this lock encodes nothing.
    readonly Lock _gate = new();

    // The thread that encodes a snapshot holds this lock. The thread takes this lock before _gate.
    readonly Lock _encoding = new();
    readonly Dictionary<string, LinkedListNode<Item>> _items = new(StringComparer.Ordinal);
    readonly LinkedList<Item> _set = new();
    readonly LinkedList<Item> _removed = new();
    readonly HashSet<FeedSubscription> _subscriptions = [];
    bool _isReady = isReady;
    long _version;
    long _forgottenVersion;
    FeedSnapshot? _snapshot; // Null if no snapshot is fresh: see IsFreshLocked.

    public bool HasSubscriptions
    {
        get
        {
            lock (_gate) return _subscriptions.Count > 0;
        }
    }

    public void Add(FeedSubscription subscription)
    {
        lock (_gate) _subscriptions.Add(subscription);
        subscription.OnChanged();
    }

    public void Remove(FeedSubscription subscription)
    {
        lock (_gate) _subscriptions.Remove(subscription);
    }

    /// <summary>Sends the subscriber a new snapshot.</summary>
    public void Restart(FeedSubscription subscription)
    {
        lock (_gate) subscription.SentRemovalVersion = FeedSubscription.None;
        subscription.OnChanged();
    }

    /// <summary>
    /// Returns the next message for a subscriber: a part of a snapshot, or the latest change of each member, oldest
    /// change first. Returns empty memory if no change remains.
    /// </summary>
    /// <param name="subscription">The subscription.</param>
    /// <param name="maxBytes">The approximate maximum size. A single larger change still becomes a message.</param>
    /// <param name="hasMore">True if more changes remain.</param>
    public ReadOnlyMemory<byte> Take(FeedSubscription subscription, int maxBytes, out bool hasMore)
    {
        ReadOnlyMemory<byte> message;
        while (!TryTake(subscription, maxBytes, out message, out hasMore))
        {
            // In the meantime, the feed has forgotten removals that the subscriber needs. So take a snapshot instead.
        }

        return message;
    }

    bool TryTake(FeedSubscription subscription, int maxBytes, out ReadOnlyMemory<byte> message, out bool hasMore)
    {
        message = default;
        bool isNew;
        lock (_gate)
        {
            hasMore = false;
            if (!_isReady) return true;
            isNew = subscription.SentRemovalVersion < _forgottenVersion;
        }

        if (isNew || subscription.SentVersion < subscription.SnapshotVersion)
        {
            // The next part can come from a newer snapshot. The newer snapshot contains all items that the subscriber
            // has not received, and later changes.
            var snapshot = GetSnapshot();
            subscription.SnapshotVersion = snapshot.Version;
            if (isNew) (subscription.SentVersion, subscription.SentRemovalVersion) = (0, snapshot.Version);
            var items = snapshot.Take(subscription.SentVersion, maxBytes, out var lastVersion);
            subscription.SentVersion = lastVersion;
            if (isNew || !items.IsEmpty)
            {
                lock (_gate) hasMore = Math.Min(lastVersion, subscription.SentRemovalVersion) < _version;
                message = WriteMessage(isNew, items.Span);
                return true;
            }
        }

        return TryTakeChanges(subscription, maxBytes, out message, out hasMore);
    }

    /// <summary>Returns true if the member has an item that is not removed.</summary>
    protected bool Has(string connectionId)
    {
        lock (_gate) return _items.TryGetValue(connectionId, out var known) && known.List == _set;
    }

    /// <summary>Returns true if the member has this item.</summary>
    protected bool Has(string connectionId, ReadOnlySpan<byte> json)
    {
        lock (_gate)
        {
            return _items.TryGetValue(connectionId, out var known) && known.List == _set
                && known.Value.Json.Span.SequenceEqual(json);
        }
    }

    /// <summary>
    /// Sets or removes items. Subscribers that wait for the first items then receive a snapshot. The calls for one
    /// member never overlap.
    /// </summary>
    protected void Apply(params ReadOnlySpan<ItemChange> changes)
    {
        lock (_gate)
        {
            var (wasReady, before) = (_isReady, _version);
            foreach (var (connectionId, json, isRemoved) in changes)
            {
                var known = _items.GetValueOrDefault(connectionId);
                if (isRemoved && known?.List != _set) continue;
                known?.List!.Remove(known);
                _version++;
                var item = new Item(connectionId, json, _version, known?.Value.FirstVersion ?? _version);
                _items[connectionId] = (isRemoved ? _removed : _set).AddLast(item);
                ForgetOldest();
            }

            _isReady = true;
            if (wasReady && _version == before) return;
            if (!IsFreshLocked(_snapshot)) _snapshot = null;
            foreach (var subscription in _subscriptions) subscription.OnChanged();
        }
    }

    /// <summary>Reports an error to all subscribers.</summary>
    public void Fail(Exception exception)
    {
        FeedSubscription[] subscriptions;
        lock (_gate) subscriptions = [.. _subscriptions];
        foreach (var subscription in subscriptions) subscription.OnFailed(exception);
    }

    /// <summary>
    /// Takes the next changes. Returns false if the feed has forgotten removals that the subscriber has not received.
    /// </summary>
    bool TryTakeChanges(
        FeedSubscription subscription, int maxBytes, out ReadOnlyMemory<byte> message, out bool hasMore)
    {
        (message, hasMore) = (default, false);
        List<Item> changes;
        long version;
        lock (_gate)
        {
            if (subscription.SentRemovalVersion < _forgottenVersion) return false;
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
        if (count == 0) return true;
        var items = new ArrayBufferWriter<byte>(size + count);
        for (var i = 0; i < count; i++)
        {
            if (i > 0) items.Write(","u8);
            items.Write(changes[i].Json.Span);
        }

        message = WriteMessage(isSnapshot: false, items.WrittenSpan);
        return true;
    }

    /// <summary>Returns the shared snapshot, or encodes a new snapshot.</summary>
    FeedSnapshot GetSnapshot()
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

            var snapshot = new FeedSnapshot(version, items);
            lock (_gate)
            {
                if (IsFreshLocked(snapshot)) _snapshot = snapshot;
            }

            return snapshot;
        }
    }

    /// <summary>True if the snapshot is recent, and if the feed still has all removals since the snapshot.</summary>
    bool IsFreshLocked([NotNullWhen(true)] FeedSnapshot? snapshot) =>
        snapshot is not null
        && snapshot.Version >= _forgottenVersion
        && _version - snapshot.Version <= _set.Count / MaxSnapshotAge;

    List<Item> FindChangesLocked(long sentVersion, long sentRemovalVersion)
    {
        var changes = new List<Item>();
        for (var node = _set.Last; node?.Value.Version > sentVersion; node = node.Previous) changes.Add(node.Value);
        for (var node = _removed.Last; node?.Value.Version > sentRemovalVersion; node = node.Previous)
        {
            // Skip a removal if the subscriber never received the item.
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

    /// <param name="isSnapshot">True for the first part of a snapshot.</param>
    /// <param name="items">The JSON of the items, separated by commas.</param>
    byte[] WriteMessage(bool isSnapshot, ReadOnlySpan<byte> items) =>
        [.. isSnapshot ? _snapshotHead : _updateHead, .. items, .. "]}"u8];

    /// <summary>A change of one member.</summary>
    /// <param name="ConnectionId">The ID of the member.</param>
    /// <param name="Json">The JSON that subscribers receive for the change.</param>
    /// <param name="IsRemoved">True if the member no longer has an item.</param>
    protected readonly record struct ItemChange(string ConnectionId, ReadOnlyMemory<byte> Json, bool IsRemoved);

    /// <summary>The latest change of one member.</summary>
    /// <param name="ConnectionId">The ID of the member.</param>
    /// <param name="Json">The JSON of the item.</param>
    /// <param name="Version">The version of the last change. One counter numbers all changes of the group.</param>
    /// <param name="FirstVersion">
    /// The version of the first known change. A subscriber with a lower version has never received an item of this
    /// member.
    /// </param>
    sealed record Item(string ConnectionId, ReadOnlyMemory<byte> Json, long Version, long FirstVersion);
}
