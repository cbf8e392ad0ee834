namespace Broadcast.Middleware;

/// <summary>
/// The states of a group's members, as subscribed clients are told them. Who changed last comes last, so that of a subscriber no more needs to be
/// known than how far it has been told.
/// </summary>
/// <remarks>
/// Not a <see cref="PresenceWatcher"/> for each subscriber: that remembers what it has told of every member, and where all members subscribe it
/// would be members times members. What is told of a member is written once, whoever many hear it.
/// </remarks>
sealed class GroupStateFeed(string group)
{
    // Beyond that, and as many as have a state, a list of these is shorter than one of those who have none any more.
    const int FewestCleared = 256;

    readonly Lock _gate = new();
    readonly Dictionary<string, LinkedListNode<Item>> _items = new(StringComparer.Ordinal);
    readonly LinkedList<Item> _set = new();
    readonly LinkedList<Item> _cleared = new();
    readonly HashSet<GroupStateSubscription> _subscriptions = [];
    long _version;
    long _forgotten;

    public bool HasSubscriptions
    {
        get
        {
            lock (_gate) return _subscriptions.Count > 0;
        }
    }

    public void Add(GroupStateSubscription subscription)
    {
        lock (_gate) _subscriptions.Add(subscription);
        subscription.OnNews();
    }

    public void Remove(GroupStateSubscription subscription)
    {
        lock (_gate) _subscriptions.Remove(subscription);
    }

    /// <summary>It is told everything from the beginning.</summary>
    public void Restart(GroupStateSubscription subscription)
    {
        lock (_gate) subscription.ToldCleared = GroupStateSubscription.Nothing;
        subscription.OnNews();
    }

    /// <summary>The calls about one connection take turns.</summary>
    public void Set(string connectionId, string? userId, ReadOnlyMemory<byte> state, DateTimeOffset at)
    {
        var isSet = GroupStates.IsState(state);
        lock (_gate)
        {
            var known = _items.GetValueOrDefault(connectionId);
            if (!isSet && known?.List != _set) return;
            known?.List!.Remove(known);
            _version++;
            var json = JsonProtocol.Write((connectionId, userId, state: isSet ? state : default, at), static (writer, item) =>
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
            _items[connectionId] = (isSet ? _set : _cleared).AddLast(new Item(connectionId, json, _version, known?.Value.Since ?? _version));
            ForgetOldest();
            foreach (var subscription in _subscriptions) subscription.OnNews();
        }
    }

    /// <summary>What a subscriber has yet to be told: of each member the latest, the oldest first; empty for nothing.</summary>
    /// <param name="subscription">The subscriber's.</param>
    /// <param name="most">Roughly how many bytes; at least one member is told.</param>
    /// <param name="hasMore">Whether that is not all.</param>
    public ReadOnlyMemory<byte> Take(GroupStateSubscription subscription, int most, out bool hasMore)
    {
        lock (_gate)
        {
            hasMore = false;
            var isSnapshot = subscription.ToldCleared < _forgotten;
            if (isSnapshot) (subscription.Told, subscription.ToldCleared) = (0, _version);
            var (told, toldCleared) = (subscription.Told, subscription.ToldCleared);
            var news = new List<Item>();
            for (var node = _set.Last; node is not null && node.Value.Version > told; node = node.Previous) news.Add(node.Value);
            for (var node = _cleared.Last; node is not null && node.Value.Version > toldCleared; node = node.Previous)
            {
                // Nothing is to be said of a state that was set and cleared unseen.
                if (node.Value.Since <= told) news.Add(node.Value);
            }

            news.Sort(static (one, other) => one.Version.CompareTo(other.Version));
            var (count, size) = (0, 0);
            while (count < news.Count && (count == 0 || size + news[count].Json.Length <= most)) size += news[count++].Json.Length;
            hasMore = count < news.Count;
            subscription.Told = hasMore ? news[count - 1].Version : _version;
            subscription.ToldCleared = Math.Max(toldCleared, subscription.Told);
            return count == 0 && !isSnapshot ? default : Write(isSnapshot, news.Take(count));
        }
    }

    void ForgetOldest()
    {
        while (_cleared.Count > FewestCleared + _set.Count)
        {
            // Who has not been told yet gets a snapshot instead.
            var oldest = _cleared.First!.Value;
            _cleared.RemoveFirst();
            _items.Remove(oldest.ConnectionId);
            _forgotten = oldest.Version;
        }
    }

    ReadOnlyMemory<byte> Write(bool isSnapshot, IEnumerable<Item> items) => JsonProtocol.Write((isSnapshot, group, items), static (writer, message) =>
    {
        writer.WriteString("type"u8, message.isSnapshot ? "groupStateSnapshot"u8 : "groupStateUpdate"u8);
        writer.WriteString("group"u8, message.group);
        writer.WriteStartArray("items"u8);
        foreach (var item in message.items) writer.WriteRawValue(item.Json.Span, skipInputValidation: true);
        writer.WriteEndArray();
    });

    /// <param name="ConnectionId">Whose.</param>
    /// <param name="Json">As it is told.</param>
    /// <param name="Version">Its place among all changes of the group.</param>
    /// <param name="Since">The first change that is known of this connection: who was told nothing from there on has never heard of it.</param>
    sealed record Item(string ConnectionId, ReadOnlyMemory<byte> Json, long Version, long Since);
}
