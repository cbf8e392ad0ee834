namespace Broadcast.Middleware.Presence;

/// <summary>Collects the changes for one watcher, and keeps only the latest change of each connection.</summary>
sealed class PresenceWatcher
{
    readonly Lock _gate = new();
    readonly Dictionary<string, PresenceMember> _reported = new(StringComparer.Ordinal);
    readonly OrderedDictionary<string, PresenceMember?> _pending = new(StringComparer.Ordinal);
    bool _isStarted;
    TaskCompletionSource _hasChanges = new(TaskCreationOptions.RunContinuationsAsynchronously);

    /// <summary>
    /// Records that a connection has joined or left, or that its state has changed. The member is null if the
    /// connection has left.
    /// </summary>
    public void Notify(string connectionId, PresenceMember? member)
    {
        lock (_gate)
        {
            // Skip a connection that joined and left before the watcher reported the join. Before Start, record the
            // leave, because the list of members may still contain the connection.
            if (member is null && _isStarted && !_reported.ContainsKey(connectionId)) _pending.Remove(connectionId);
            else _pending[connectionId] = member;
            _hasChanges.TrySetResult();
        }
    }

    /// <summary>
    /// Adds the list of current members. Recorded changes are newer than the list and take precedence.
    /// </summary>
    public void Start(IEnumerable<PresenceMember> members)
    {
        lock (_gate)
        {
            foreach (var member in members) _pending.TryAdd(member.ConnectionId, member);
            var gone = _pending.Where(static change => change.Value is null).ToArray();
            foreach (var (id, _) in gone) _pending.Remove(id);
            _isStarted = true;
            if (_pending.Count > 0) _hasChanges.TrySetResult();
        }
    }

    public Task WaitAsync(CancellationToken cancellationToken)
    {
        lock (_gate) return _hasChanges.Task.WaitAsync(cancellationToken);
    }

    public IReadOnlyList<PresenceChange> Take()
    {
        var changes = new List<PresenceChange>();
        lock (_gate)
        {
            foreach (var (id, member) in _pending)
            {
                var wasReported = _reported.Remove(id, out var before);
                if (member is not null) _reported.Add(id, member);
                if (member is null)
                {
                    if (wasReported) changes.Add(new(PresenceChangeKind.Left, before!));
                }
                else if (!wasReported)
                {
                    changes.Add(new(PresenceChangeKind.Joined, member));
                }
                else if (!before!.State.Span.SequenceEqual(member.State.Span))
                {
                    changes.Add(new(PresenceChangeKind.StateChanged, member));
                }
            }

            _pending.Clear();
            _hasChanges = new(TaskCreationOptions.RunContinuationsAsynchronously);
        }

        return changes;
    }
}
