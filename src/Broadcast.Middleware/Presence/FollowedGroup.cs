namespace Broadcast.Middleware.Presence;

/// <summary>
/// The states, watchers and subscriptions of a group. Code that uses this class must hold the lock of
/// <see cref="GroupPresence"/>.
/// </summary>
sealed class FollowedGroup
{
    /// <summary>The states of the members of this node.</summary>
    public Dictionary<string, MemberState> States { get; } = new(StringComparer.Ordinal);

    public List<PresenceWatcher> Watchers { get; } = [];

    /// <summary>Null until a client subscribes to the states.</summary>
    public StateFeed? Feed { get; set; }

    /// <summary>
    /// The group members on other nodes at the time of the last poll. Empty if the group has no watchers and no
    /// subscriptions.
    /// </summary>
    public Dictionary<string, RemoteMember> Remote { get; } = new(StringComparer.Ordinal);

    /// <summary>True while a background loop polls the members of other nodes.</summary>
    public bool IsPolled { get; set; }

    public bool IsWatched => Watchers.Count > 0 || Feed is { HasSubscriptions: true };

    /// <summary>Adds members of other nodes, or updates known members.</summary>
    public void UpdateRemote(IEnumerable<RemoteMember> members)
    {
        foreach (var member in members)
        {
            var (id, state) = (member.Member.ConnectionId, member.Member.State);
            var isKnown = Remote.TryGetValue(id, out var before);
            if (isKnown && before.SetAt == member.SetAt && before.Member.State.Span.SequenceEqual(state.Span)) continue;
            Remote[id] = member;
            Notify(id, member.Member);
            if (!state.IsEmpty || before.Member is { State.IsEmpty: false })
                Feed?.Set(id, member.Member.UserId, state.ToArray(), member.SetAt);
        }
    }

    /// <summary>
    /// Replaces the members of other nodes. A known member that the new list does not contain has left.
    /// </summary>
    public void ReplaceRemote(RemoteMember[] members, DateTimeOffset now)
    {
        UpdateRemote(members);
        var left = Remote.Keys.Except(members.Select(static member => member.Member.ConnectionId)).ToArray();
        foreach (var id in left)
        {
            Remote.Remove(id, out var before);
            Notify(id, null);
            if (!before.Member.State.IsEmpty) Feed?.Set(id, before.Member.UserId, default, now);
        }
    }

    /// <summary>Notifies the watchers. The member is null if the connection has left.</summary>
    public void Notify(string connectionId, PresenceMember? member)
    {
        foreach (var watcher in Watchers) watcher.Notify(connectionId, member);
    }
}
