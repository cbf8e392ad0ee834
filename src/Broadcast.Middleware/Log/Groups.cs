using System.Collections.Concurrent;

namespace Broadcast.Middleware;

/// <summary>
/// The groups that have members, or a history. A group is made when the first one joins, or publishes what is to be kept, and gone
/// when the last one has left and nothing is kept any more.
/// </summary>
sealed class Groups(SequenceClock clock, GroupRules rules, int maxWithoutMembers, TimeProvider time)
{
    /// <summary>The group of all connections; no name that a user can give.</summary>
    public const string Everyone = "";

    readonly ConcurrentDictionary<string, Group> _groups = new(StringComparer.Ordinal);
    readonly LinkedList<Group> _deserted = []; // Those without members, the longest first; its own lock.

    /// <summary>The group of everyone is one of them.</summary>
    public int Count => _groups.Count;

    public LogSettings Default => rules.Default;

    public LogSettings SettingsOf(string name) => rules.For(name);

    public Group? Find(string name) => _groups.GetValueOrDefault(name);

    /// <summary>Null only if a group of a cluster was given that is no longer there.</summary>
    public (Membership Membership, bool? Recovered, Position Position)? Join(string name, ConnectionWriter writer, Replay replay = default, Group? clustered = null)
    {
        if (clustered is not null)
            return clustered.Join(writer, replay, out var isRecovered, out var after) is { } reader ? (new(clustered, reader), isRecovered, after) : null;
        while (true)
        {
            var group = FindOrCreate(name);
            bool? recovered;
            Position position;
            Cursor? cursor;
            try
            {
                cursor = group.Join(writer, replay, out recovered, out position);
            }
            catch
            {
                if (group.HasHistory) DesertIfEmpty(group);
                else if (group.TryRemove()) Remove(group);
                throw;
            }

            if (cursor is not null)
            {
                if (group.HasHistory) SetDeserted(group, false);
                return (new(group, cursor), recovered, position);
            }

            Remove(group);
        }
    }

    public void Leave(Membership membership)
    {
        var group = membership.Group;
        if (!group.Leave(membership.Cursor) || group.Clustered is not null) return;
        if (group.HasHistory) SetDeserted(group, true);
        else Remove(group);
    }

    /// <summary>Nothing, where nobody hears it and nothing is kept.</summary>
    public PublishResult Publish(string name, Message message, Exclusions? exclusions, int excludedMembers)
    {
        while (FindToPublish(name) is { } group)
        {
            if (group.Publish(message, exclusions, excludedMembers) is { } result)
            {
                DesertIfEmpty(group);
                return result;
            }

            Remove(group);
        }

        return default;
    }

    /// <summary>To each of them, and once to who is in more than one.</summary>
    public PublishResult Publish(IReadOnlyCollection<string> names, Message message, Exclusions? exclusions)
    {
        while (true)
        {
            var groups = names.Distinct(StringComparer.Ordinal).Order(StringComparer.Ordinal).Select(FindToPublish).OfType<Group>().ToArray();
            if (groups.Length == 0) return default;
            if (Group.Publish(groups, message, exclusions, clock) is { } members)
            {
                foreach (var group in groups) DesertIfEmpty(group);
                return new(null, members);
            }

            foreach (var group in groups.Where(static group => group.IsRemoved)) Remove(group);
        }
    }

    public void Rest()
    {
        foreach (var (_, group) in _groups)
        {
            if (group.Rest()) Remove(group);
            else DesertIfEmpty(group);
        }
    }

    Group? FindToPublish(string name) => Find(name) ?? (rules.For(name).History is null ? null : FindOrCreate(name));

    /// <summary>After the publish that has made it, which must not find it evicted already.</summary>
    void DesertIfEmpty(Group group)
    {
        if (group is { HasHistory: true, HasMembers: false, Deserted: null }) SetDeserted(group, true);
    }

    Group FindOrCreate(string name) =>
        _groups.GetOrAdd(name, static (name, groups) => groups.Create(name), this);

    Group Create(string name) => new(name, clock, rules.For(name), time);

    /// <summary>One of a cluster.</summary>
    public Group Create(string name, Position after, ClusterGroup clustered) => new(name, clock, rules.For(name), time, after, clustered);

    /// <summary>Of a cluster: it is there from now on.</summary>
    public void Add(Group group) => _groups[group.Name] = group;

    public void Remove(Group group)
    {
        _groups.TryRemove(new(group.Name, group));
        if (group.HasHistory) SetDeserted(group, false);
    }

    /// <summary>A hint, which may be late: whether a group has members, it decides itself.</summary>
    void SetDeserted(Group group, bool isDeserted)
    {
        Group? oldest = null;
        lock (_deserted)
        {
            if (group.Deserted is { } node)
            {
                _deserted.Remove(node);
                group.Deserted = null;
            }

            if (!isDeserted || group.IsRemoved) return;
            group.Deserted = _deserted.AddLast(group);
            if (_deserted.Count > maxWithoutMembers)
            {
                // At once, so that each who adds one takes out another.
                oldest = _deserted.First!.Value;
                _deserted.RemoveFirst();
                oldest.Deserted = null;
            }
        }

        if (oldest?.TryRemove() is true) Remove(oldest);
    }
}

/// <summary>That a connection is in a group.</summary>
readonly record struct Membership(Group Group, Cursor Cursor);
