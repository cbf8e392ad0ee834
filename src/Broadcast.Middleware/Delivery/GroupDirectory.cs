using System.Collections.Concurrent;
using Broadcast.Middleware.Logs;

namespace Broadcast.Middleware.Delivery;

/// <summary>
/// The groups of this node. The directory creates a group for the first join, or for the first message that the group
/// must keep for later members. The directory removes a group that has no members and keeps no messages.
/// </summary>
/// <param name="clock">Assigns sequence numbers to the messages of all groups.</param>
/// <param name="rules">The settings of the groups.</param>
/// <param name="maxEmptyGroups">See <see cref="BroadcastOptions.MaxEmptyGroups"/>.</param>
/// <param name="time">The time provider.</param>
sealed class GroupDirectory(SequenceClock clock, GroupRules rules, int maxEmptyGroups, TimeProvider time)
    : IGroupProvider
{
    readonly ConcurrentDictionary<string, Group> _groups = new(StringComparer.Ordinal);

    // The empty groups that keep messages. The group that has been empty for the longest time is first. The list object
    // is also the lock of the list.
    readonly LinkedList<Group> _emptyGroups = [];

    /// <summary>The number of groups, including the group of all connections.</summary>
    public int Count => _groups.Count;

    /// <summary>The groups of this node, including the group of all connections.</summary>
    public IEnumerable<Group> All => _groups.Select(static entry => entry.Value);

    public LogSettings GetSettings(string name) => rules.Find(name);

    /// <inheritdoc cref="GroupRules.Adapt"/>
    public void Adapt(SlowConsumer whenSlow) => rules.Adapt(whenSlow);

    public Group? Find(string name) => _groups.GetValueOrDefault(name);

    public bool CanAcquire(string name) => true;

    public ValueTask<Group> AcquireAsync(string name, CancellationToken cancellationToken) => new(FindOrCreate(name));

    public void Release(Group group, bool isEmpty)
    {
        if (!isEmpty) return;
        if (group.Lifetime != GroupLifetime.UntilHistoryExpires)
        {
            if (group.TryRemove()) Remove(group);
        }
        else if (!TryRemoveUnused(group))
        {
            TrackEmpty(group, true);
        }
    }

    /// <summary>Removes a group with a new member from the list of empty groups.</summary>
    public void OnJoined(Group group)
    {
        if (group.Lifetime == GroupLifetime.UntilHistoryExpires) TrackEmpty(group, false);
    }

    /// <summary>
    /// Publishes to one group. If the group has no members and does not keep the message for later members, the server
    /// drops the message.
    /// </summary>
    /// <exception cref="InvalidOperationException">The group cannot retain the message.</exception>
    public PublishResult Publish(string name, Message message, EntryMetadata? metadata, int excludedMembers)
    {
        while (FindForPublish(name, message) is { } group)
        {
            try
            {
                if (group.Publish(message, metadata, excludedMembers) is { } result)
                {
                    TrackIfEmpty(group);
                    return result;
                }
            }
            catch (InvalidOperationException)
            {
                TryRemoveUnused(group);
                throw;
            }

            Remove(group);
        }

        return default;
    }

    /// <summary>Publishes to several groups. A member of more than one group receives the message once.</summary>
    /// <exception cref="InvalidOperationException">A group cannot retain the message.</exception>
    public PublishResult Publish(IReadOnlyCollection<string> names, Message message, EntryMetadata? metadata)
    {
        // A delegate with a captured message would allocate a copy of the message.
        Func<string, Group?> find = message.IsTransient ? Find : HasValue(message) ? FindForKey : FindForHistory;
        while (true)
        {
            var sorted = names.Distinct(StringComparer.Ordinal).Order(StringComparer.Ordinal);
            var groups = sorted.Select(find).OfType<Group>().ToArray();
            if (groups.Length == 0) return default;
            try
            {
                if (Group.Publish(groups, message, metadata, clock) is { } members)
                {
                    foreach (var group in groups) TrackIfEmpty(group);
                    return new(null, members);
                }
            }
            catch (InvalidOperationException)
            {
                foreach (var group in groups) TryRemoveUnused(group);
                throw;
            }

            foreach (var group in groups.Where(static group => group.IsRemoved)) Remove(group);
        }
    }

    /// <summary>Frees memory of groups without new messages.</summary>
    public void Trim()
    {
        foreach (var (_, group) in _groups)
        {
            if (group.Trim()) Remove(group);
            else TrackIfEmpty(group);
        }
    }

    /// <summary>Creates a log for messages to one connection.</summary>
    public MessageLog CreatePrivateLog() => new(clock, rules.Default);

    /// <summary>Creates a group of the cluster, but does not add the group to the directory.</summary>
    public Group Create(string name, Position after) =>
        new(name, clock, rules.Find(name), time, after, GroupLifetime.Owned);

    public void Add(Group group) => _groups[group.Name] = group;

    public void Remove(Group group)
    {
        _groups.TryRemove(new(group.Name, group));
        if (group.Lifetime == GroupLifetime.UntilHistoryExpires) TrackEmpty(group, false);
    }

    /// <summary>
    /// Removes a group that a refused join or a refused publish created. In the list of empty groups, this group could
    /// evict a group that keeps messages. Outside this list, the group would exist until the next heartbeat.
    /// </summary>
    bool TryRemoveUnused(Group group)
    {
        if (group.Lifetime != GroupLifetime.UntilHistoryExpires || !group.TryRemoveUnused()) return false;
        Remove(group);
        return true;
    }

    /// <summary>
    /// Finds the group of a message. Creates a missing group if the group keeps the message for later members.
    /// </summary>
    Group? FindForPublish(string name, in Message message) =>
        message.IsTransient ? Find(name) : HasValue(message) ? FindForKey(name) : FindForHistory(name);

    /// <summary>
    /// True if the message can set a retained value. The removal of a value needs no new group, unless the group has a
    /// history.
    /// </summary>
    static bool HasValue(in Message message) => message is { Key: not null, RemoveKey: false };

    Group? FindForHistory(string name) =>
        Find(name) ?? (rules.Find(name).History is null ? null : FindOrCreate(name));

    Group? FindForKey(string name) => Find(name) ?? (rules.Find(name).Kept is null ? null : FindOrCreate(name));

    Group FindOrCreate(string name) =>
        _groups.GetOrAdd(name, static (name, directory) => directory.Create(name), this);

    Group Create(string name) => new(name, clock, rules.Find(name), time);

    /// <summary>
    /// Adds an empty group to the list of empty groups. Call this method after the publish that created the group.
    /// Otherwise another thread could remove the group before the publish.
    /// </summary>
    void TrackIfEmpty(Group group)
    {
        if (group is { Lifetime: GroupLifetime.UntilHistoryExpires, IsEmpty: true, EmptyNode: null })
            TrackEmpty(group, true);
    }

    /// <summary>
    /// Adds the group to the list of empty groups, or removes the group from the list. The list may be out of date, so
    /// <see cref="Group.TryRemove"/> checks again whether a group is empty.
    /// </summary>
    void TrackEmpty(Group group, bool isEmpty)
    {
        Group? oldest = null;
        lock (_emptyGroups)
        {
            if (group.EmptyNode is { } node)
            {
                _emptyGroups.Remove(node);
                group.EmptyNode = null;
            }

            if (!isEmpty || group.IsRemoved) return;
            group.EmptyNode = _emptyGroups.AddLast(group);
            if (_emptyGroups.Count > maxEmptyGroups)
            {
                // Each call adds at most one group, so removing one group is enough.
                oldest = _emptyGroups.First!.Value;
                _emptyGroups.RemoveFirst();
                oldest.EmptyNode = null;
            }
        }

        if (oldest?.TryRemove() is true) Remove(oldest);
    }
}
