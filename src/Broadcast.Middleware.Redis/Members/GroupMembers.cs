using System.Diagnostics;

namespace Broadcast.Middleware.Redis.Members;

/// <summary>The members of one group on this node, and the changes that Redis does not have yet.</summary>
/// <remarks>Invariant: at most one write of a group runs at a time, so Redis receives the changes in order.</remarks>
sealed class GroupMembers(string group)
{
    const int MaxChangesPerWrite = 256;

    /// <summary>
    /// The size at which a write ends. The heartbeat of the node waits behind the writes that are in flight, so a write
    /// must be small.
    /// </summary>
    const int MaxBytesPerWrite = 16 * 1024;

    readonly Dictionary<string, byte[]> _members = new(StringComparer.Ordinal);
    readonly Dictionary<string, byte[]?> _changes = new(StringComparer.Ordinal);
    readonly Lock _lock = new();
    bool _rewrites = true;
    State _state = State.Clean;

    enum State
    {
        /// <summary>Redis has all members.</summary>
        Clean,

        /// <summary>A write is waiting or running.</summary>
        Dirty,

        /// <summary>The group has no members. The dictionary no longer contains this object.</summary>
        Removed,
    }

    public string Group => group;

    /// <summary>
    /// The name of this node in the last successful write. Null before the first write. Only the current write uses
    /// this property.
    /// </summary>
    public string? NodeInRedis { get; set; }

    public int Count
    {
        get
        {
            lock (_lock) return _members.Count;
        }
    }

    /// <summary>Sets a member, or removes it if <paramref name="value"/> is null.</summary>
    /// <param name="member">The member.</param>
    /// <param name="value">The value.</param>
    /// <param name="needsWrite">True if the caller must schedule a write.</param>
    /// <returns>False if the object is in the state Removed. The caller must then create a new object.</returns>
    public bool TryChange(string member, byte[]? value, out bool needsWrite)
    {
        lock (_lock)
        {
            needsWrite = false;
            if (_state == State.Removed) return false;
            if (value is null) _members.Remove(member);
            else _members[member] = value;
            _changes[member] = value;
            needsWrite = MarkDirtyLocked();
            return true;
        }
    }

    /// <summary>
    /// Requests a rewrite: the next writes replace all members that Redis has for this group and node. Returns true if
    /// the caller must schedule a write.
    /// </summary>
    public bool RequestRewrite()
    {
        lock (_lock)
        {
            if (_state == State.Removed) return false;
            _rewrites = true;
            _changes.Clear();
            foreach (var (member, value) in _members) _changes[member] = value;
            return MarkDirtyLocked();
        }
    }

    /// <summary>
    /// Takes the changes for the next write. If there is nothing to write, marks the group as clean and returns false.
    /// </summary>
    /// <param name="rewrites">True if the write must first delete the group's members of this node.</param>
    /// <param name="changes">The changed members. The value of a removed member is null.</param>
    public bool TryTakeChanges(out bool rewrites, out List<KeyValuePair<string, byte[]?>> changes)
    {
        lock (_lock)
        {
            Debug.Assert(_state == State.Dirty);
            changes = [];
            var bytes = 0;
            foreach (var change in _changes)
            {
                if (changes.Count == MaxChangesPerWrite || bytes >= MaxBytesPerWrite) break;
                bytes += change.Key.Length + (change.Value?.Length ?? 0);
                changes.Add(change);
            }

            foreach (var (member, _) in changes) _changes.Remove(member);
            (rewrites, _rewrites) = (_rewrites, false);
            if (rewrites || changes.Count > 0) return true;
            _state = State.Clean;
            return false;
        }
    }

    /// <summary>Adds the changes of a failed write again. Redis may already have some of the changes.</summary>
    public void Retry(bool rewrites, List<KeyValuePair<string, byte[]?>> changes)
    {
        lock (_lock)
        {
            Debug.Assert(_state == State.Dirty);
            _rewrites |= rewrites;
            // The members may have changed during the write, so add the current values.
            foreach (var (member, _) in changes) _changes[member] = _members.GetValueOrDefault(member);
        }
    }

    /// <summary>Marks the object as removed if the group has no members and no changes.</summary>
    public bool TryRemove()
    {
        lock (_lock)
        {
            if (_state != State.Clean || _members.Count > 0) return false;
            _state = State.Removed;
            return true;
        }
    }

    public void CopyTo(Dictionary<string, BackplaneMember> members)
    {
        lock (_lock)
        {
            foreach (var (member, value) in _members) members[member] = new(member, value);
        }
    }

    /// <summary>Marks the group as dirty. Returns true if the group was clean.</summary>
    bool MarkDirtyLocked()
    {
        Debug.Assert(_lock.IsHeldByCurrentThread && _state != State.Removed);
        if (_state == State.Dirty) return false;
        _state = State.Dirty;
        return true;
    }
}
