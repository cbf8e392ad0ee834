using Broadcast.Middleware.Presence;

namespace Broadcast.Middleware.Protocols;

/// <summary>Stores the states of the members of a group as JSON, and sends them to the subscribed clients.</summary>
/// <remarks>
/// The feed keeps the items in the order of their last change. So each subscription stores only the versions of the
/// last sent changes. A <see cref="PresenceWatcher"/> for each subscriber would instead store every member. If all
/// members subscribed, the memory would grow with the square of the member count. The feed writes the JSON of an item
/// once for all subscribers.
/// </remarks>
sealed class GroupStateFeed(string group) : StateFeed
{
    // The feed forgets the oldest removals if the removed items outnumber the items with a state by more than this
    // number. A snapshot is then smaller than the list of removals.
    const int MinRemovedItems = 256;

    readonly Lock _gate = new();
    readonly Dictionary<string, LinkedListNode<Item>> _items = new(StringComparer.Ordinal);
    readonly LinkedList<Item> _set = new();
    readonly LinkedList<Item> _removed = new();
    readonly HashSet<GroupStateSubscription> _subscriptions = [];
    long _version;
    long _forgottenVersion;

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
            foreach (var subscription in _subscriptions) subscription.OnChanged();
        }
    }

    /// <summary>
    /// Returns the next message for a subscriber: the latest change of each member, oldest change first. Returns empty
    /// memory if there is nothing to send.
    /// </summary>
    /// <param name="subscription">The subscription.</param>
    /// <param name="maxBytes">The approximate maximum size. A single larger change still becomes a message.</param>
    /// <param name="hasMore">True if more changes remain.</param>
    public ReadOnlyMemory<byte> Take(GroupStateSubscription subscription, int maxBytes, out bool hasMore)
    {
        lock (_gate)
        {
            var isSnapshot = subscription.SentRemovalVersion < _forgottenVersion;
            if (isSnapshot) (subscription.SentVersion, subscription.SentRemovalVersion) = (0, _version);
            var changes = FindChanges(subscription.SentVersion, subscription.SentRemovalVersion);
            var (count, size) = (0, 0);
            while (count < changes.Count && (count == 0 || size + changes[count].Json.Length <= maxBytes))
                size += changes[count++].Json.Length;
            hasMore = count < changes.Count;
            subscription.SentVersion = hasMore ? changes[count - 1].Version : _version;
            subscription.SentRemovalVersion = Math.Max(subscription.SentRemovalVersion, subscription.SentVersion);
            return count == 0 && !isSnapshot ? default : WriteMessage(isSnapshot, changes.Take(count));
        }
    }

    List<Item> FindChanges(long sentVersion, long sentRemovalVersion)
    {
        var changes = new List<Item>();
        for (var node = _set.Last; node?.Value.Version > sentVersion; node = node.Previous) changes.Add(node.Value);
        for (var node = _removed.Last; node?.Value.Version > sentRemovalVersion; node = node.Previous)
        {
            // Skip a removal if the subscriber never received the state.
            if (node.Value.FirstVersion <= sentVersion) changes.Add(node.Value);
        }

        changes.Sort(static (left, right) => left.Version.CompareTo(right.Version));
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

    ReadOnlyMemory<byte> WriteMessage(bool isSnapshot, IEnumerable<Item> items) =>
        JsonProtocol.Write((isSnapshot, group, items), static (writer, message) =>
        {
            writer.WriteString("type"u8, message.isSnapshot ? "groupStateSnapshot"u8 : "groupStateUpdate"u8);
            writer.WriteString("group"u8, message.group);
            writer.WriteStartArray("items"u8);
            foreach (var item in message.items) writer.WriteRawValue(item.Json.Span, skipInputValidation: true);
            writer.WriteEndArray();
        });

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
