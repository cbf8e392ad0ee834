using System.Collections.Concurrent;
using System.Diagnostics.CodeAnalysis;

namespace Broadcast.Middleware.Redis.Members;

/// <summary>The members of all groups on this node, and the groups that need a write.</summary>
sealed class LocalMembers
{
    readonly ConcurrentDictionary<string, GroupMembers> _groups = new(StringComparer.Ordinal);
    readonly ConcurrentQueue<GroupMembers> _dirty = new();

    /// <summary>
    /// Sets a member, or removes the member if <paramref name="value"/> is null. Returns true if the group became
    /// dirty.
    /// </summary>
    public bool Change(string group, string member, byte[]? value)
    {
        while (true)
        {
            var members = _groups.GetOrAdd(group, static name => new GroupMembers(name));
            // A removed object is no longer in the dictionary. So the next iteration creates a new object.
            if (!members.TryChange(member, value, out var needsWrite)) continue;
            if (needsWrite) _dirty.Enqueue(members);
            return needsWrite;
        }
    }

    public bool TryGet(string group, [NotNullWhen(true)] out GroupMembers? members) =>
        _groups.TryGetValue(group, out members);

    public bool TryTakeDirty([NotNullWhen(true)] out GroupMembers? members) => _dirty.TryDequeue(out members);

    /// <summary>Schedules the next write of a dirty group.</summary>
    public void AddDirty(GroupMembers members) => _dirty.Enqueue(members);

    /// <summary>Schedules writes that set all members of this node again.</summary>
    public void RequestRewriteOfAll()
    {
        foreach (var (_, members) in _groups)
        {
            if (members.RequestRewrite()) _dirty.Enqueue(members);
        }
    }

    /// <summary>Removes the group if the group has no members and no changes.</summary>
    public void RemoveIfEmpty(GroupMembers members)
    {
        if (members.TryRemove()) _groups.TryRemove(new KeyValuePair<string, GroupMembers>(members.Group, members));
    }
}
