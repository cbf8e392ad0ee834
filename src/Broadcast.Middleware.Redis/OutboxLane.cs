namespace Broadcast.Middleware;

/// <summary>One group's. Exists while something waits or is under way.</summary>
sealed class OutboxLane(Outbox outbox, string group, TimeSpan timeout, TimeProvider time) : IThreadPoolWorkItem
{
    /// <summary>The script copies a batch a few times, and holds up everybody else meanwhile.</summary>
    const int MaxBatchBytes = 256 * 1024;
    const int MaxBatchMessages = 1024;

    readonly Queue<OutboxEntry> _waiting = new();
    readonly Lock _gate = new();

    // One for all that wait: one each was a fifth of what a publish costs under load (benchmarks/Broadcast.Redis.Benchmarks, publishes).
    ITimer? _timer;
    List<OutboxEntry> _underWay = [];
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
            _timer = time.CreateTimer(static lane => ((OutboxLane)lane!).GiveUp(), this, timeout, Timeout.InfiniteTimeSpan);
        }

        // Not on the publisher's thread, which shall not wait for a socket; and whoever publishes more at once fills a batch meanwhile.
        ThreadPool.UnsafeQueueUserWorkItem(this, preferLocal: false);
        return true;
    }

    public BackplaneException TimeIsUp() => new(
        $"Redis has not taken the message within {nameof(RedisBackplaneOptions.PublishTimeout)}, {timeout}. {Problem ?? "It is slow, or cannot be reached."} " +
        "The message may still be published.");

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

            if (batch is not null) return _underWay = batch;
            _ended = true;
            _timer?.Dispose();
            outbox.Remove(group, this);
            return null;
        }
    }

    /// <summary>Fails what has waited for too long, and comes again when the next one has.</summary>
    void GiveUp()
    {
        lock (_gate)
        {
            if (_ended) return;
            var left = timeout;
            foreach (var entry in _underWay.Concat(_waiting))
            {
                if (entry.IsDone) continue;
                left = timeout - time.GetElapsedTime(entry.At);
                // They stand as they came.
                if (left > TimeSpan.Zero) break;
                entry.Fail(TimeIsUp());
                left = timeout;
            }

            // A timer knows whole milliseconds only.
            _timer?.Change(left + TimeSpan.FromMilliseconds(1), Timeout.InfiniteTimeSpan);
        }
    }
}
