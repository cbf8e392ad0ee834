namespace Broadcast.Middleware;

/// <summary>One group's. Exists while something waits or is under way.</summary>
sealed class OutboxLane(Outbox outbox, string group) : IThreadPoolWorkItem
{
    /// <summary>The script copies a batch a few times, and holds up everybody else meanwhile.</summary>
    const int MaxBatchBytes = 256 * 1024;
    const int MaxBatchMessages = 1024;

    readonly Queue<OutboxEntry> _waiting = new();
    readonly Lock _gate = new();
    volatile string? _problem;
    int _sweepAt = MaxBatchMessages;
    bool _sending;
    bool _ended;

    /// <summary>Why the batch that is under way has not been taken yet.</summary>
    public string? Problem
    {
        get => _problem;
        set => _problem = value;
    }

    /// <summary>For tests.</summary>
    internal int Count
    {
        get
        {
            lock (_gate) return _waiting.Count;
        }
    }

    public bool TryAdd(OutboxEntry entry)
    {
        lock (_gate)
        {
            if (_ended) return false;
            // Those whose publishers have given up take no room; else they might pile up behind a batch that waits for long.
            if (_waiting.Count >= _sweepAt)
            {
                for (var count = _waiting.Count; count > 0; count--)
                {
                    if (_waiting.Dequeue() is { IsDone: false } other) _waiting.Enqueue(other);
                }

                _sweepAt = Math.Max(MaxBatchMessages, 2 * _waiting.Count);
            }

            _waiting.Enqueue(entry);
            if (_sending) return true;
            _sending = true;
        }

        // Not on the publisher's thread, which shall not wait for a socket; and whoever publishes more at once fills a batch meanwhile.
        ThreadPool.UnsafeQueueUserWorkItem(this, preferLocal: false);
        return true;
    }

    void IThreadPoolWorkItem.Execute() => _ = SendAsync();

    async Task SendAsync()
    {
        while (Take() is { } batch) await outbox.SendAsync(group, this, batch);
    }

    List<OutboxEntry>? Take()
    {
        lock (_gate)
        {
            List<OutboxEntry>? batch = null;
            var bytes = 0;
            while (_waiting.TryPeek(out var next) && (batch is null || (batch.Count < MaxBatchMessages && bytes + next.Message.Length <= MaxBatchBytes)))
            {
                _waiting.Dequeue();
                // Its publisher has given up.
                if (next.IsDone) continue;
                bytes += next.Message.Length;
                (batch ??= []).Add(next);
            }

            if (batch is not null) return batch;
            _ended = true;
            outbox.Remove(group, this);
            return null;
        }
    }
}
