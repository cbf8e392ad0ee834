using System.Runtime.CompilerServices;

namespace Broadcast.Middleware;

/// <summary>The presence of one node: members are the registry's, states and watchers are kept here.</summary>
/// <remarks>One gate for all: it is taken only while some group has states, watchers or subscriptions, and held for moments.</remarks>
sealed class Presence(Broadcaster broadcaster) : IPresence
{
    readonly Lock _gate = new();
    readonly Dictionary<string, Followed> _followed = new(StringComparer.Ordinal);
    int _count;

    public ValueTask<long> CountAsync(string group, CancellationToken cancellationToken)
    {
        GroupName.ThrowIfInvalid(group);
        cancellationToken.ThrowIfCancellationRequested();
        return new(broadcaster.Connections.CountInGroup(group));
    }

    public ValueTask<IReadOnlyList<PresenceMember>> GetMembersAsync(string group, CancellationToken cancellationToken)
    {
        GroupName.ThrowIfInvalid(group);
        cancellationToken.ThrowIfCancellationRequested();
        return new(MembersOf(group));
    }

    public ValueTask<bool> SetStateAsync(string connectionId, string group, ReadOnlyMemory<byte> state, CancellationToken cancellationToken)
    {
        GroupName.ThrowIfInvalid(group);
        if (ProblemOf(state) is { } problem) throw new ArgumentException(problem, nameof(state));
        return new(broadcaster.Find(connectionId, cancellationToken)?.SetState(group, state.ToArray()) ?? false);
    }

    public IAsyncEnumerable<PresenceChange> WatchAsync(string group, CancellationToken cancellationToken)
    {
        GroupName.ThrowIfInvalid(group);
        return ReadAsync(group, cancellationToken);
    }

    /// <summary>Null, or what is wrong with the state and how to mend it.</summary>
    public string? ProblemOf(ReadOnlyMemory<byte> state) => broadcaster.Options.MaxPresenceStateBytes is var largest && state.Length <= largest
        ? null
        : $"The state has {state.Length} bytes and {nameof(BroadcastOptions.MaxPresenceStateBytes)} is {largest}: say less, or raise it.";

    /// <summary>Begins to tell a client of the states in a group, which it is told of as of now.</summary>
    public void Subscribe(GroupStateSubscription subscription)
    {
        lock (_gate)
        {
            var followed = Follow(subscription.Group);
            if (followed.Feed is null)
            {
                followed.Feed = new GroupStateFeed(subscription.Group);
                foreach (var (id, state) in followed.States) followed.Feed.Set(id, state.UserId, state.Bytes, state.SetAt);
            }

            subscription.Feed = followed.Feed;
            followed.Feed.Add(subscription);
        }
    }

    public void Unsubscribe(GroupStateSubscription subscription)
    {
        lock (_gate)
        {
            var followed = _followed[subscription.Group];
            followed.Feed!.Remove(subscription);
            Forget(subscription.Group, followed);
        }
    }

    /// <summary>After it has joined; the calls about one connection take turns.</summary>
    public void OnJoined(Connection connection, string group) => Tell(connection, group, isMember: true);

    /// <summary>After it has left.</summary>
    public void OnLeft(Connection connection, string group) => Tell(connection, group, isMember: false);

    /// <summary>A member has a state from now on.</summary>
    public void SetState(Connection connection, string group, byte[] state)
    {
        lock (_gate)
        {
            var (followed, now) = (Follow(group), broadcaster.Time.GetUtcNow());
            if (state.Length > 0) followed.States[connection.Id] = new(connection.UserId, state, now);
            else followed.States.Remove(connection.Id);
            followed.Tell(connection.Id, new(connection.Id, connection.UserId, state));
            followed.Feed?.Set(connection.Id, connection.UserId, state, now);
            Forget(group, followed);
        }
    }

    void Tell(Connection connection, string group, bool isMember)
    {
        if (Volatile.Read(ref _count) == 0) return;
        lock (_gate)
        {
            if (!_followed.TryGetValue(group, out var followed)) return;
            if (!isMember && followed.States.Remove(connection.Id)) followed.Feed?.Set(connection.Id, connection.UserId, default, broadcaster.Time.GetUtcNow());
            followed.Tell(connection.Id, isMember ? new(connection.Id, connection.UserId, default) : null);
            Forget(group, followed);
        }
    }

    async IAsyncEnumerable<PresenceChange> ReadAsync(string group, [EnumeratorCancellation] CancellationToken cancellationToken)
    {
        var watcher = new PresenceWatcher();
        lock (_gate)
        {
            // First the watcher, then the list: who joins or leaves in between is told twice, which it notices.
            Follow(group).Watchers.Add(watcher);
        }

        try
        {
            watcher.TellOfUnknown(MembersOf(group));
            while (true)
            {
                await watcher.WaitAsync(cancellationToken).ConfigureAwait(false);
                foreach (var change in watcher.Take())
                {
                    cancellationToken.ThrowIfCancellationRequested();
                    yield return change;
                }
            }
        }
        finally
        {
            lock (_gate)
            {
                var followed = _followed[group];
                followed.Watchers.Remove(watcher);
                Forget(group, followed);
            }
        }
    }

    List<PresenceMember> MembersOf(string group)
    {
        var connections = broadcaster.Connections.InGroup(group).ToArray();
        lock (_gate)
        {
            var states = _followed.GetValueOrDefault(group)?.States;
            return [.. connections.Select(connection => new PresenceMember(connection.Id, connection.UserId, states?.GetValueOrDefault(connection.Id).Bytes))];
        }
    }

    Followed Follow(string group)
    {
        if (_followed.TryGetValue(group, out var followed)) return followed;
        followed = new Followed();
        _followed.Add(group, followed);
        Volatile.Write(ref _count, _followed.Count);
        return followed;
    }

    void Forget(string group, Followed followed)
    {
        // A feed without subscriptions goes no sooner: who subscribes and unsubscribes in turn would have it made again each time.
        if (followed.Watchers.Count > 0 || followed.States.Count > 0 || followed.Feed is { HasSubscriptions: true }) return;
        _followed.Remove(group);
        Volatile.Write(ref _count, _followed.Count);
    }

    sealed class Followed
    {
        public Dictionary<string, MemberState> States { get; } = new(StringComparer.Ordinal);

        public List<PresenceWatcher> Watchers { get; } = [];

        /// <summary>Null until a client subscribes.</summary>
        public GroupStateFeed? Feed { get; set; }

        public void Tell(string connectionId, PresenceMember? member)
        {
            foreach (var watcher in Watchers) watcher.Tell(connectionId, member);
        }
    }

    readonly record struct MemberState(string? UserId, byte[] Bytes, DateTimeOffset SetAt);
}
