using System.Diagnostics;
using System.Runtime.CompilerServices;
using Broadcast.Middleware.Connections;
using Broadcast.Middleware.Diagnostics;

namespace Broadcast.Middleware.Presence;

/// <summary>
/// Provides the members of each group and the state of each member. The registry lists the members of this node. This
/// class stores the states and the watchers. In a cluster, this class polls the members of other nodes once per second
/// for each watched group.
/// </summary>
/// <remarks>
/// One lock guards all groups. Joins and leaves skip this lock while no group has states, watchers or subscriptions.
/// </remarks>
/// <param name="registry">Lists the members of this node.</param>
/// <param name="find">Returns the connection with an ID. Returns null if this node has no such connection.</param>
/// <param name="remote">The members of other nodes. Null without a cluster.</param>
/// <param name="time">The time provider.</param>
/// <param name="logger">The logger.</param>
sealed class GroupPresence(
    IConnectionRegistry registry,
    Func<string, Connection?> find,
    IRemoteMembers? remote,
    TimeProvider time,
    BroadcastLogger logger)
    : IMembershipObserver
{
    static readonly TimeSpan PollInterval = TimeSpan.FromSeconds(1);

    readonly Lock _gate = new();
    readonly Dictionary<string, FollowedGroup> _followed = new(StringComparer.Ordinal);
    int _followedCount;

    public ValueTask<long> CountAsync(string group, CancellationToken cancellationToken) =>
        remote?.CountAsync(group, cancellationToken) ?? new(registry.CountGroupMembers(group));

    public ValueTask<IReadOnlyList<PresenceMember>> GetMembersAsync(
        string group, CancellationToken cancellationToken) =>
        remote is null ? new(GetLocalMembers(group)) : GetAllMembersAsync(remote, group, cancellationToken);

    /// <summary>Subscribes to the states of a group. The feed starts with the current states.</summary>
    /// <param name="group">The group.</param>
    /// <param name="create">Creates the feed for the first subscription.</param>
    /// <param name="subscribe">Adds the subscription to the feed.</param>
    public void Subscribe(string group, Func<string, StateFeed> create, Action<StateFeed> subscribe)
    {
        lock (_gate)
        {
            var followed = Follow(group);
            if (followed.Feed is null)
            {
                followed.Feed = create(group);
                foreach (var (id, state) in followed.States)
                    followed.Feed.Set(id, state.UserId, state.Bytes, state.SetAt);
                foreach (var (id, member) in followed.Remote)
                {
                    if (member.Member.State.IsEmpty) continue;
                    followed.Feed.Set(id, member.Member.UserId, member.Member.State.ToArray(), member.SetAt);
                }
            }

            subscribe(followed.Feed);
            StartPolling(group, followed);
        }
    }

    /// <summary>Ends a subscription: see <see cref="Subscribe"/>.</summary>
    /// <param name="group">The group.</param>
    /// <param name="unsubscribe">Removes the subscription from the feed.</param>
    public void Unsubscribe(string group, Action<StateFeed> unsubscribe)
    {
        lock (_gate)
        {
            var followed = _followed[group];
            unsubscribe(followed.Feed!);
            RemoveIfUnused(group, followed);
        }
    }

    public void OnJoined(Connection connection, string group)
    {
        remote?.Set(connection, group, [], default);
        Notify(connection, group, isMember: true);
    }

    public void OnLeft(Connection connection, string group)
    {
        remote?.Remove(connection, group);
        Notify(connection, group, isMember: false);
    }

    /// <summary>
    /// Sets the state of a member at the request of the app. Returns false if the connection is not in the group.
    /// </summary>
    public bool SetState(Connection connection, string group, byte[] state)
    {
        // The connection cannot leave the group while this thread holds the membership lock.
        lock (connection.JoinedGroups)
        {
            if (connection.IndexOf(group) < 0) return false;
            lock (_gate) SetMemberStateLocked(connection, group, state, isSetByApp: true);
            return true;
        }
    }

    /// <summary>Sets the state of a member at the request of the client, unless the app has set a state.</summary>
    public ClientStateResult SetClientState(Connection connection, string group, byte[] state)
    {
        lock (connection.JoinedGroups)
        {
            if (connection.IndexOf(group) < 0) return ClientStateResult.NotAMember;
            lock (_gate)
            {
                var known = _followed.GetValueOrDefault(group)?.States.GetValueOrDefault(connection.Id);
                if (known is { IsSetByApp: true }) return ClientStateResult.SetByApp;
                SetMemberStateLocked(connection, group, state, isSetByApp: false);
                return ClientStateResult.Success;
            }
        }
    }

    /// <summary>Watches a group: see <see cref="IPresence.WatchAsync"/>.</summary>
    public async IAsyncEnumerable<PresenceChange> WatchAsync(
        string group, [EnumeratorCancellation] CancellationToken cancellationToken)
    {
        await foreach (var changes in WatchBatchesAsync(group, cancellationToken).ConfigureAwait(false))
        {
            foreach (var change in changes)
            {
                cancellationToken.ThrowIfCancellationRequested();
                yield return change;
            }
        }
    }

    /// <summary>
    /// Watches a group. The first item contains all current members. For an empty group, the first item is an empty
    /// list. Each later item contains all changes since the previous item.
    /// </summary>
    public async IAsyncEnumerable<IReadOnlyList<PresenceChange>> WatchBatchesAsync(
        string group, [EnumeratorCancellation] CancellationToken cancellationToken)
    {
        var watcher = new PresenceWatcher();
        FollowedGroup followed;
        lock (_gate)
        {
            // Add the watcher before the code reads the members. Otherwise, the watcher would miss a change between
            // these two steps. The watcher ignores a change that it receives twice.
            followed = Follow(group);
            followed.Watchers.Add(watcher);
            StartPolling(group, followed);
        }

        try
        {
            if (remote is not null)
            {
                var members = await remote.GetAsync(group, cancellationToken).ConfigureAwait(false);
                // Store these members, so that the next poll can detect the members that have left.
                lock (_gate) followed.UpdateRemote(members.Where(static member => !member.IsLocal));
            }

            IReadOnlyList<PresenceMember> remoteMembers;
            lock (_gate) remoteMembers = [.. followed.Remote.Values.Select(static member => member.Member)];
            watcher.Start([.. GetLocalMembers(group), .. remoteMembers]);
            while (true)
            {
                cancellationToken.ThrowIfCancellationRequested();
                yield return watcher.Take();
                await watcher.WaitAsync(cancellationToken).ConfigureAwait(false);
            }
        }
        finally
        {
            lock (_gate)
            {
                followed.Watchers.Remove(watcher);
                RemoveIfUnused(group, followed);
            }
        }
    }

    void SetMemberStateLocked(Connection connection, string group, byte[] state, bool isSetByApp)
    {
        Debug.Assert(_gate.IsHeldByCurrentThread);
        var (followed, now) = (Follow(group), time.GetUtcNow());
        if (state.Length > 0) followed.States[connection.Id] = new(connection.UserId, state, now, isSetByApp);
        else followed.States.Remove(connection.Id);
        followed.Notify(connection.Id, new(connection.Id, connection.UserId, state));
        followed.Feed?.Set(connection.Id, connection.UserId, state, now);
        remote?.Set(connection, group, state, now);
        RemoveIfUnused(group, followed);
    }

    void Notify(Connection connection, string group, bool isMember)
    {
        if (Volatile.Read(ref _followedCount) == 0) return;
        lock (_gate)
        {
            if (!_followed.TryGetValue(group, out var followed)) return;
            if (!isMember && followed.States.Remove(connection.Id))
                followed.Feed?.Set(connection.Id, connection.UserId, default, time.GetUtcNow());
            followed.Notify(connection.Id, isMember ? new(connection.Id, connection.UserId, default) : null);
            RemoveIfUnused(group, followed);
        }
    }

    /// <summary>
    /// Returns the members of all nodes. The members of this node come from the registry, because the registry changes
    /// before the directory of the cluster.
    /// </summary>
    async ValueTask<IReadOnlyList<PresenceMember>> GetAllMembersAsync(
        IRemoteMembers remote, string group, CancellationToken cancellationToken)
    {
        var members = await remote.GetAsync(group, cancellationToken).ConfigureAwait(false);
        var remoteMembers = members.Where(static member => !member.IsLocal).Select(static member => member.Member);
        return [.. GetLocalMembers(group), .. remoteMembers];
    }

    /// <summary>
    /// Starts to poll the members of other nodes. The polling ends when the group has no watchers and no subscriptions.
    /// The caller holds the lock.
    /// </summary>
    void StartPolling(string group, FollowedGroup followed)
    {
        if (remote is null || followed.IsPolled) return;
        followed.IsPolled = true;
        _ = BackgroundWork.Run(() => PollAsync(remote, group, followed));
    }

    async Task PollAsync(IRemoteMembers remote, string group, FollowedGroup followed)
    {
        while (true)
        {
            RemoteMember[]? members = null;
            try
            {
                var all = await remote.GetAsync(group, CancellationToken.None).ConfigureAwait(false);
                members = [.. all.Where(static member => !member.IsLocal)];
            }
            catch (Exception exception)
            {
                // Keep the known members until the next successful poll.
                logger.MembersUnreachable(exception.Message);
            }

            lock (_gate)
            {
                followed.IsPolled = followed.IsWatched && !remote.HasEnded;
                if (!followed.IsPolled)
                {
                    // While the group has states, the feed stays for the next subscription. So also remove the members
                    // of other nodes from the feed. The next poll adds the current members.
                    if (followed.IsWatched) followed.Remote.Clear();
                    else followed.ReplaceRemote([], time.GetUtcNow());
                    return;
                }

                if (members is not null) followed.ReplaceRemote(members, time.GetUtcNow());
            }

            await Task.Delay(PollInterval, time).ConfigureAwait(false);
        }
    }

    /// <summary>
    /// Returns the members of this node. A custom registry may return objects of another class, so this method uses
    /// only the IDs of the objects.
    /// </summary>
    List<PresenceMember> GetLocalMembers(string group)
    {
        var ids = registry.GetGroupMembers(group).Select(static member => member.Id);
        Connection[] connections = [.. ids.Select(find).OfType<Connection>()];
        lock (_gate)
        {
            var states = _followed.GetValueOrDefault(group)?.States;
            return [.. connections.Select(CreateMember)];

            PresenceMember CreateMember(Connection connection) =>
                new(connection.Id, connection.UserId, states?.GetValueOrDefault(connection.Id).Bytes);
        }
    }

    FollowedGroup Follow(string group)
    {
        if (_followed.TryGetValue(group, out var followed)) return followed;
        followed = new FollowedGroup();
        _followed.Add(group, followed);
        Volatile.Write(ref _followedCount, _followed.Count);
        return followed;
    }

    void RemoveIfUnused(string group, FollowedGroup followed)
    {
        // Keep the feed while the group has states. Otherwise, each new subscription would have to rebuild the feed.
        if (followed.IsWatched || followed.States.Count > 0) return;
        _followed.Remove(group);
        Volatile.Write(ref _followedCount, _followed.Count);
    }
}
