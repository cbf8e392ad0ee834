namespace Broadcast.Middleware;

/// <summary>What one watcher has yet to be told: of each connection, the latest.</summary>
sealed class PresenceWatcher
{
    readonly Lock _gate = new();
    readonly Dictionary<string, PresenceMember> _told = new(StringComparer.Ordinal);
    readonly OrderedDictionary<string, PresenceMember?> _news = new(StringComparer.Ordinal);
    bool _isListed;
    TaskCompletionSource _hasNews = new(TaskCreationOptions.RunContinuationsAsynchronously);

    public void Tell(string connectionId, PresenceMember? member)
    {
        lock (_gate)
        {
            // Nothing is to be said of one who came and went unseen. Until the list has come, who left may still be on it.
            if (member is null && _isListed && !_told.ContainsKey(connectionId)) _news.Remove(connectionId);
            else _news[connectionId] = member;
            _hasNews.TrySetResult();
        }
    }

    /// <summary>The list of those who were there at first: whatever else is known of somebody is newer.</summary>
    public void TellOfUnknown(IEnumerable<PresenceMember> members)
    {
        lock (_gate)
        {
            foreach (var member in members) _news.TryAdd(member.ConnectionId, member);
            string[] gone = [.. _news.Where(static news => news.Value is null).Select(static news => news.Key)];
            foreach (var id in gone) _news.Remove(id);
            _isListed = true;
            if (_news.Count > 0) _hasNews.TrySetResult();
        }
    }

    public Task WaitAsync(CancellationToken cancellationToken)
    {
        lock (_gate) return _hasNews.Task.WaitAsync(cancellationToken);
    }

    public IReadOnlyList<PresenceChange> Take()
    {
        var changes = new List<PresenceChange>();
        lock (_gate)
        {
            foreach (var (id, member) in _news)
            {
                var wasTold = _told.Remove(id, out var before);
                if (member is not null) _told.Add(id, member);
                if (member is null)
                {
                    if (wasTold) changes.Add(new(PresenceChangeKind.Left, before!));
                }
                else if (!wasTold)
                {
                    changes.Add(new(PresenceChangeKind.Joined, member));
                }
                else if (!before!.State.Span.SequenceEqual(member.State.Span))
                {
                    changes.Add(new(PresenceChangeKind.StateChanged, member));
                }
            }

            _news.Clear();
            _hasNews = new(TaskCreationOptions.RunContinuationsAsynchronously);
        }

        return changes;
    }
}
