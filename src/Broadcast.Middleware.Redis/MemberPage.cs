namespace Broadcast.Middleware;

/// <summary>One group's members on this node, and what of them Redis has not been told yet. One write at a time, so the order is kept.</summary>
sealed class MemberPage(string group)
{
    const int MaxChangesAtOnce = 256;

    readonly Dictionary<string, byte[]> _members = new(StringComparer.Ordinal);
    readonly Dictionary<string, byte[]?> _changes = new(StringComparer.Ordinal);
    readonly Lock _gate = new();
    bool _anew = true;
    bool _isDirty;
    bool _ended;

    public string Group => group;

    public int Count
    {
        get
        {
            lock (_gate) return _members.Count;
        }
    }

    /// <summary>Returns false if the page has ended, and another one is needed. <paramref name="isDirty"/> if it has to be written, and did not have to before.</summary>
    public bool TryChange(string member, byte[]? value, out bool isDirty)
    {
        lock (_gate)
        {
            isDirty = !_isDirty && !_ended;
            if (_ended) return false;
            if (value is null) _members.Remove(member);
            else _members[member] = value;
            _changes[member] = value;
            _isDirty = true;
            return true;
        }
    }

    /// <summary>Redis may know anything of this group. Returns whether it has to be written, and did not have to before.</summary>
    public bool Forget()
    {
        lock (_gate)
        {
            if (_ended) return false;
            _anew = true;
            _changes.Clear();
            foreach (var (member, value) in _members) _changes[member] = value;
            var isDirty = !_isDirty;
            _isDirty = true;
            return isDirty;
        }
    }

    /// <summary>What is to be written next; false if nothing is, and then the page is no longer dirty.</summary>
    public bool Take(out bool anew, out List<KeyValuePair<string, byte[]?>> changes)
    {
        lock (_gate)
        {
            changes = [.. _changes.Take(MaxChangesAtOnce)];
            foreach (var (member, _) in changes) _changes.Remove(member);
            (anew, _anew) = (_anew, false);
            return _isDirty = anew || changes.Count > 0;
        }
    }

    public bool TryEnd()
    {
        lock (_gate) return _ended = !_isDirty && _members.Count == 0;
    }

    public void CopyTo(Dictionary<string, BackplaneMember> members)
    {
        lock (_gate)
        {
            foreach (var (member, value) in _members) members[member] = new(member, value);
        }
    }
}
