using System.Collections.Concurrent;

namespace Broadcast.Middleware;

/// <summary>The groups that have members. A group is made when the first one joins and gone when the last one has left.</summary>
sealed class Groups(SequenceClock clock, int capacity)
{
    /// <summary>The group of all connections; no name that a user can give.</summary>
    public const string Everyone = "";

    readonly ConcurrentDictionary<string, Group> _groups = new(StringComparer.Ordinal);

    /// <summary>The group of everyone is one of them.</summary>
    public int Count => _groups.Count;

    public Group? Find(string name) => _groups.GetValueOrDefault(name);

    public Membership Join(string name, ConnectionWriter writer)
    {
        while (true)
        {
            var group = _groups.GetOrAdd(name, static (name, groups) => groups.Create(name), this);
            if (group.Join(writer) is { } cursor) return new(group, cursor);
            Remove(group);
        }
    }

    public void Leave(Membership membership)
    {
        if (membership.Group.Leave(membership.Cursor)) Remove(membership.Group);
    }

    public void Rest()
    {
        foreach (var (_, group) in _groups) group.Rest();
    }

    Group Create(string name) => new(name, clock, capacity);

    void Remove(Group group) => _groups.TryRemove(new(group.Name, group));
}

/// <summary>That a connection is in a group.</summary>
readonly record struct Membership(Group Group, Cursor Cursor);
