namespace Broadcast.Middleware;

/// <summary>What one watcher has yet to be told: of each connection, the latest.</summary>
sealed class PresenceWatcher
{
    readonly Lock _gate = new();
    readonly Dictionary<string, PresenceMember> _told = new(StringComparer.Ordinal);
    readonly OrderedDictionary<string, PresenceMember?> _news = new(StringComparer.Ordinal);
    TaskCompletionSource _hasNews = new(TaskCreationOptions.RunContinuationsAsynchronously);

    public void Tell(string connectionId, PresenceMember? member)
    {
        lock (_gate)
        {
            _news[connectionId] = member;
            _hasNews.TrySetResult();
        }
    }

    /// <summary>From the list of those who were there at first: whatever else is known of somebody is newer.</summary>
    public void TellIfUnknown(PresenceMember member)
    {
        lock (_gate)
        {
            if (_news.TryAdd(member.ConnectionId, member)) _hasNews.TrySetResult();
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
