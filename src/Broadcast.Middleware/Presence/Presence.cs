using System.Runtime.CompilerServices;

namespace Broadcast.Middleware;

/// <summary>
/// Members are the registry's, states and watchers are kept here; in a cluster, the backplane knows the members of other nodes, and is asked for them
/// once a second while somebody watches.
/// </summary>
/// <remarks>One gate for all: it is taken only while some group has states, watchers or subscriptions, and held for moments.</remarks>
sealed class Presence(Broadcaster broadcaster) : IPresence
{
    static readonly TimeSpan PollInterval = TimeSpan.FromSeconds(1);

    readonly Lock _gate = new();
    readonly Dictionary<string, Followed> _followed = new(StringComparer.Ordinal);
    int _count;

    public ValueTask<long> CountAsync(string group, CancellationToken cancellationToken)
    {
        GroupName.ThrowIfInvalid(group);
        cancellationToken.ThrowIfCancellationRequested();
        return broadcaster.Cluster?.Members.CountAsync(group, cancellationToken) ?? new(broadcaster.Connections.CountInGroup(group));
    }

    public ValueTask<IReadOnlyList<PresenceMember>> GetMembersAsync(string group, CancellationToken cancellationToken)
    {
        GroupName.ThrowIfInvalid(group);
        cancellationToken.ThrowIfCancellationRequested();
        return broadcaster.Cluster is null ? new(MembersOf(group)) : MembersOfClusterAsync(group, cancellationToken);
    }

    public ValueTask<bool> SetStateAsync(string connectionId, string group, ReadOnlyMemory<byte> state, CancellationToken cancellationToken)
    {
        GroupName.ThrowIfInvalid(group);
        if (ProblemOf(state) is { } problem) throw new ArgumentException(problem, nameof(state));
        if (broadcaster.Find(connectionId, cancellationToken) is { } connection) return new(connection.SetState(group, state.ToArray()));
        return broadcaster.Cluster?.Neighbours.SetStateAsync(connectionId, group, state, cancellationToken) ?? default;
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
                foreach (var (id, remote) in followed.Remote)
                {
                    if (!remote.Member.State.IsEmpty) followed.Feed.Set(id, remote.Member.UserId, remote.Member.State.ToArray(), remote.SetAt);
                }
            }

            subscription.Feed = followed.Feed;
            followed.Feed.Add(subscription);
            Poll(subscription.Group, followed);
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
    public void OnJoined(Connection connection, string group)
    {
        broadcaster.Cluster?.Members.Set(connection, group, [], default);
        Tell(connection, group, isMember: true);
    }

    /// <summary>After it has left.</summary>
    public void OnLeft(Connection connection, string group)
    {
        broadcaster.Cluster?.Members.Remove(connection, group);
        Tell(connection, group, isMember: false);
    }

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
            broadcaster.Cluster?.Members.Set(connection, group, state, now);
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
        Followed followed;
        lock (_gate)
        {
            // First the watcher, then the list: who joins or leaves in between is told twice, which it notices.
            followed = Follow(group);
            followed.Watchers.Add(watcher);
            Poll(group, followed);
        }

        try
        {
            if (broadcaster.Cluster is { } cluster)
            {
                var members = await cluster.Members.GetAsync(group, cancellationToken).ConfigureAwait(false);
                // So that it shows when they leave, though none of the regular looks has found them.
                lock (_gate) followed.TellOfRemote(members.Where(static member => !member.IsOwn));
            }

            IReadOnlyList<PresenceMember> known;
            lock (_gate) known = [.. followed.Remote.Values.Select(static remote => remote.Member)];
            watcher.TellOfUnknown([.. MembersOf(group), .. known]);
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
                followed.Watchers.Remove(watcher);
                Forget(group, followed);
            }
        }
    }

    /// <summary>This node's as it knows them, which is before the cluster does; the others' as the cluster does.</summary>
    async ValueTask<IReadOnlyList<PresenceMember>> MembersOfClusterAsync(string group, CancellationToken cancellationToken)
    {
        var members = await broadcaster.Cluster!.Members.GetAsync(group, cancellationToken).ConfigureAwait(false);
        return [.. MembersOf(group), .. members.Where(static member => !member.IsOwn).Select(static member => member.Member)];
    }

    /// <summary>Looks at other nodes' members from time to time, as long as somebody watches. The caller holds the gate.</summary>
    void Poll(string group, Followed followed)
    {
        if (broadcaster.Cluster is not { } cluster || followed.IsPolled) return;
        followed.IsPolled = true;
        _ = PollAsync(cluster, group, followed);
    }

    async Task PollAsync(Cluster cluster, string group, Followed followed)
    {
        while (true)
        {
            ClusterMember[]? members = null;
            try
            {
                members = [.. (await cluster.Members.GetAsync(group, CancellationToken.None).ConfigureAwait(false)).Where(static member => !member.IsOwn)];
            }
            catch (Exception exception)
            {
                // What is known of them stays until they can be asked again.
                broadcaster.Log.MembersUnreachable(exception.Message);
            }

            lock (_gate)
            {
                followed.IsPolled = followed.IsWatched && !cluster.Neighbours.HasEnded;
                if (!followed.IsPolled)
                {
                    followed.Remote.Clear();
                    return;
                }

                if (members is not null) followed.TellOfAllRemote(members, broadcaster.Time.GetUtcNow());
            }

            await Task.Delay(PollInterval, broadcaster.Time).ConfigureAwait(false);
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
        if (followed.IsWatched || followed.States.Count > 0) return;
        _followed.Remove(group);
        Volatile.Write(ref _count, _followed.Count);
    }

    sealed class Followed
    {
        public Dictionary<string, MemberState> States { get; } = new(StringComparer.Ordinal);

        public List<PresenceWatcher> Watchers { get; } = [];

        /// <summary>Null until a client subscribes.</summary>
        public GroupStateFeed? Feed { get; set; }

        /// <summary>The members of other nodes, as of late, while somebody watches.</summary>
        public Dictionary<string, ClusterMember> Remote { get; } = new(StringComparer.Ordinal);

        public bool IsPolled { get; set; }

        public bool IsWatched => Watchers.Count > 0 || Feed is { HasSubscriptions: true };

        /// <summary>These have come, or changed.</summary>
        public void TellOfRemote(IEnumerable<ClusterMember> members)
        {
            foreach (var member in members)
            {
                var (id, userId, state) = (member.Member.ConnectionId, member.Member.UserId, member.Member.State);
                if (Remote.TryGetValue(id, out var before) && before.SetAt == member.SetAt && before.Member.State.Span.SequenceEqual(state.Span)) continue;
                Remote[id] = member;
                Tell(id, member.Member);
                if (!state.IsEmpty || before.Member is { State.IsEmpty: false }) Feed?.Set(id, userId, state.ToArray(), member.SetAt);
            }
        }

        /// <summary>The same, and that all others have left.</summary>
        public void TellOfAllRemote(ClusterMember[] members, DateTimeOffset now)
        {
            TellOfRemote(members);
            foreach (var id in Remote.Keys.Except(members.Select(static member => member.Member.ConnectionId)).ToArray())
            {
                Remote.Remove(id, out var before);
                Tell(id, null);
                if (!before.Member.State.IsEmpty) Feed?.Set(id, before.Member.UserId, default, now);
            }
        }

        public void Tell(string connectionId, PresenceMember? member)
        {
            foreach (var watcher in Watchers) watcher.Tell(connectionId, member);
        }
    }

    readonly record struct MemberState(string? UserId, byte[] Bytes, DateTimeOffset SetAt);
}
