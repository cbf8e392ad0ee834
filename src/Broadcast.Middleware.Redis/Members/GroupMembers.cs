using System.Diagnostics;

namespace Broadcast.Middleware.Redis.Members;

/// <summary>The members of one group on this node, and the changes that Redis does not have yet.</summary>
/// <remarks>Invariant: at most one write of a group runs at a time, so Redis receives the changes in order.</remarks>
sealed class GroupMembers(string group)
{
    const int MaxChangesPerWrite = 256;

    /// <summary>
    /// The size in bytes at which a write takes no more changes. Redis handles the heartbeat command after the writes
    /// that are in flight, so a write must be small.
    /// </summary>
    const int MaxBytesPerWrite = 16 * 1024;

    readonly Dictionary<string, byte[]> _members = new(StringComparer.Ordinal);

    // The members that changed, in the order of the writes. The queue and the set contain the same names.
    readonly Queue<string> _changes = new();
    readonly HashSet<string> _changedNames = new(StringComparer.Ordinal);
    readonly Lock _lock = new();
    Rewrite _rewrite = Rewrite.Check;
    bool _isChecking;
    State _state = State.Clean;

    enum State
    {
        /// <summary>Redis has all members.</summary>
        Clean,

        /// <summary>A write is waiting or running.</summary>
        Dirty,

        /// <summary>The group has no members. <see cref="LocalMembers"/> no longer contains this object.</summary>
        Removed,
    }

    /// <summary>The method by which the next writes set all members of the group again.</summary>
    enum Rewrite
    {
        None,

        /// <summary>
        /// The writes do not delete members first, so other nodes see all members during the rewrite. The last write
        /// checks the number of members.
        /// </summary>
        Check,

        /// <summary>
        /// The first write deletes the members that Redis has. The writer uses this method after a failed check.
        /// </summary>
        Replace,
    }

    public string Group => group;

    /// <summary>
    /// The name of this node in the last successful write. Null before the first write. Only the current write uses
    /// this property.
    /// </summary>
    public string? NodeInRedis { get; set; }

    /// <summary>True if the last write failed. Only the current write uses this property.</summary>
    public bool HasFailed { get; set; }

    public int Count
    {
        get
        {
            lock (_lock) return _members.Count;
        }
    }

    /// <summary>Sets a member, or removes the member if <paramref name="value"/> is null.</summary>
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
            AddChangeLocked(member);
            needsWrite = MarkDirtyLocked();
            return true;
        }
    }

    /// <summary>
    /// Requests a rewrite, so that the next writes set all members of this node. Returns true if the caller must
    /// schedule a write.
    /// </summary>
    public bool RequestRewrite()
    {
        lock (_lock)
        {
            if (_state == State.Removed) return false;
            if (_rewrite != Rewrite.Replace) _rewrite = Rewrite.Check;
            AddAllMembersLocked();
            return MarkDirtyLocked();
        }
    }

    /// <summary>
    /// Makes the next writes replace all members that Redis has for this group and node. Call this method if the number
    /// of members in Redis differs from the expected number after a write.
    /// </summary>
    public void ReplaceAll()
    {
        lock (_lock)
        {
            Debug.Assert(_state == State.Dirty);
            _rewrite = Rewrite.Replace;
            // The delete makes removals unnecessary.
            _changes.Clear();
            _changedNames.Clear();
            AddAllMembersLocked();
        }
    }

    /// <summary>
    /// Takes the changes for the next write. If the group needs no write, this method marks the group as clean and
    /// returns false.
    /// </summary>
    public bool TryTakeChanges(out MemberWrite write)
    {
        lock (_lock)
        {
            Debug.Assert(_state == State.Dirty);
            var changes = new List<KeyValuePair<string, byte[]?>>();
            var bytes = 0;
            while (changes.Count < MaxChangesPerWrite && bytes < MaxBytesPerWrite
                && _changes.TryDequeue(out var member))
            {
                _changedNames.Remove(member);
                var value = _members.GetValueOrDefault(member);
                bytes += member.Length + (value?.Length ?? 0);
                changes.Add(new(member, value));
            }

            var deletesFirst = _rewrite == Rewrite.Replace;
            _isChecking |= _rewrite == Rewrite.Check;
            _rewrite = Rewrite.None;
            // After the last change, Redis must have exactly the members of this node.
            int? expectedCount = _isChecking && _changes.Count == 0 ? _members.Count : null;
            if (expectedCount is not null) _isChecking = false;
            write = new(deletesFirst, expectedCount, changes);
            if (deletesFirst || expectedCount is not null || changes.Count > 0) return true;
            _state = State.Clean;
            return false;
        }
    }

    /// <summary>Adds the changes of a failed write again. Redis may already have some of the changes.</summary>
    public void Retry(in MemberWrite write)
    {
        lock (_lock)
        {
            Debug.Assert(_state == State.Dirty);
            if (write.DeletesFirst) _rewrite = Rewrite.Replace;
            _isChecking |= write.ExpectedCount is not null;
            foreach (var (member, _) in write.Changes) AddChangeLocked(member);
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

    void AddAllMembersLocked()
    {
        // Redis has all members only after the last write of the rewrite. So an earlier check would fail.
        _isChecking = false;
        foreach (var (member, _) in _members) AddChangeLocked(member);
    }

    /// <summary>Adds a change. The write takes the value that the member has at the start of the write.</summary>
    void AddChangeLocked(string member)
    {
        Debug.Assert(_lock.IsHeldByCurrentThread);
        if (_changedNames.Add(member)) _changes.Enqueue(member);
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
