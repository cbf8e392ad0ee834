using System.Diagnostics;
using Broadcast.Middleware.Redis.Connections;

namespace Broadcast.Middleware.Redis.Publishing;

/// <summary>The messages that this node must still publish to one group.</summary>
/// <remarks>
/// Invariant: at most one batch of a group is in flight, so the messages keep their order. New messages wait and form
/// the next batch. The object exists only while the group has messages.
/// </remarks>
sealed class GroupOutbox(
    string group, TimeSpan publishTimeout, BatchPublisher publisher, OutageCheck outages, TimeProvider time,
    Action<GroupOutbox> onClosed)
    : IThreadPoolWorkItem
{
    /// <summary>
    /// The maximum size of a batch. The publish script copies a batch several times. Redis executes no other command
    /// during the script, so a batch must be small.
    /// </summary>
    const int MaxBatchBytes = 256 * 1024;
    const int MaxBatchMessages = 1024;

    readonly Queue<OutboxEntry> _waiting = new();
    readonly Lock _lock = new();

    // One timer checks the timeouts of all messages of the group. Under load, one timer for each message took a fifth
    // of the publish time. The command "publishes" of benchmarks/Broadcast.Redis.Benchmarks measures the publish time.
    ITimer? _timer;
    List<OutboxEntry> _inFlight = [];
    volatile string? _lastError;
    int _droppedCount;
    State _state = State.New;

    enum State
    {
        New,
        Sending,
        Closed,
    }

    public string Group => group;

    /// <summary>The number of waiting messages. Only tests use this property.</summary>
    internal int Count
    {
        get
        {
            lock (_lock) return _waiting.Count;
        }
    }

    /// <summary>Adds a message. Returns false if the outbox is closed.</summary>
    public bool TryAdd(OutboxEntry entry)
    {
        lock (_lock)
        {
            if (_state == State.Closed) return false;
            _waiting.Enqueue(entry);
            if (_state == State.Sending) return true;
            StartLocked();
        }

        // Send on another thread, because the caller must not wait for the socket. The batch then also contains the
        // messages that arrive before the thread starts.
        ThreadPool.UnsafeQueueUserWorkItem(this, preferLocal: false);
        return true;
    }

    /// <summary>
    /// Drops the message of a canceled publish. A message in a batch that is in flight stays until the batch has ended.
    /// </summary>
    public void Cancel(OutboxEntry entry)
    {
        lock (_lock)
        {
            if (!entry.IsDropped && !entry.IsInFlight) DropLocked(entry);
        }
    }

    void IThreadPoolWorkItem.Execute() => _ = SendAllAsync();

    async Task SendAllAsync()
    {
        while (TakeBatch() is { } batch) await SendAsync(batch);
    }

    /// <summary>Sends one batch and completes its entries.</summary>
    async Task SendAsync(List<OutboxEntry> batch)
    {
        try
        {
            var lastPublish = batch.Max(static entry => entry.Timestamp);
            var deadline = lastPublish + (long)(publishTimeout.TotalSeconds * time.TimestampFrequency);
            // The connection may have failed after the publish call. Redis does not have these messages yet. So an
            // error now cannot lead to a repeated message.
            if (await outages.FindAsync(group, deadline) is { } outage) throw outage;
            // Do not send the messages after the deadline, because the callers receive an error.
            if (time.GetTimestamp() >= deadline) throw CreateTimeoutException();
            Position? published;
            do published = await publisher.PublishAsync(group, batch, deadline, error => _lastError = error);
            while (published is null && TryRemoveRefused(ref batch));
            _lastError = null;
            EndBatch(batch);
            // If Redis refused all messages, the batch is now empty.
            var first = published.GetValueOrDefault();
            var offset = first.Offset;
            foreach (var entry in batch) entry.Succeed(new(first.Epoch, entry.IsTransient ? offset : offset++));
        }
        catch (Exception exception)
        {
            var failure = exception switch
            {
                // The error of an earlier attempt is more specific than the timeout of this attempt.
                BackplaneException { InnerException: TimeoutException } => CreateTimeoutException(),
                BackplaneException backplaneException => backplaneException,
                _ => new BackplaneException("The publish failed. See the inner exception.", exception),
            };
            EndBatch(batch);
            foreach (var entry in batch) entry.Fail(failure);
        }
    }

    /// <summary>
    /// Reports the error of each refused message, and removes these messages from the batch. Returns false if no
    /// message is left.
    /// </summary>
    bool TryRemoveRefused(ref List<OutboxEntry> batch)
    {
        var refused = batch.FindAll(static entry => entry.Refusal is not null);
        lock (_lock)
        {
            _inFlight = batch = batch.FindAll(static entry => entry.Refusal is null);
            foreach (var entry in refused) entry.Drop();
        }

        foreach (var entry in refused)
        {
            var problem = $"The group '{group}' cannot retain the message. {entry.Refusal}";
            entry.Fail(new InvalidOperationException(problem));
        }

        return batch.Count > 0;
    }

    BackplaneException CreateTimeoutException() => new(
        $"Redis has not accepted the message within {nameof(RedisBackplaneOptions.PublishTimeout)} " +
        $"({publishTimeout}). {_lastError ?? "Redis is slow or unreachable."} Redis may still publish the message.");

    /// <summary>Drops the messages of a batch that has ended. Call this method before the callers continue.</summary>
    void EndBatch(List<OutboxEntry> batch)
    {
        lock (_lock)
        {
            _inFlight = [];
            foreach (var entry in batch) entry.Drop();
        }
    }

    /// <summary>Takes the next batch. If no message waits, this method closes the outbox and returns null.</summary>
    List<OutboxEntry>? TakeBatch()
    {
        lock (_lock)
        {
            List<OutboxEntry>? batch = null;
            var bytes = 0;
            while (_waiting.TryPeek(out var next))
            {
                if (next.IsDropped)
                {
                    _waiting.Dequeue();
                    _droppedCount--;
                    continue;
                }

                if (batch is not null && !Fits(batch, next, bytes + next.Message.Length)) break;
                _waiting.Dequeue();
                bytes += next.Message.Length;
                next.IsInFlight = true;
                (batch ??= []).Add(next);
            }

            if (batch is null) CloseLocked();
            else _inFlight = batch;
            return batch;
        }

        static bool Fits(List<OutboxEntry> batch, OutboxEntry next, int bytes) =>
            batch.Count < MaxBatchMessages && bytes <= MaxBatchBytes && next.Once is null && batch[0].Once is null;
    }

    /// <summary>
    /// Drops a waiting message. If most entries of the queue are dropped, this method removes these entries. Otherwise,
    /// dropped entries would accumulate while a batch waits for Redis.
    /// </summary>
    void DropLocked(OutboxEntry entry)
    {
        Debug.Assert(_lock.IsHeldByCurrentThread);
        entry.Drop();
        if (++_droppedCount * 2 <= _waiting.Count) return;
        for (var count = _waiting.Count; count > 0; count--)
        {
            if (_waiting.Dequeue() is { IsDropped: false } waiting) _waiting.Enqueue(waiting);
        }

        _droppedCount = 0;
    }

    void StartLocked()
    {
        Debug.Assert(_lock.IsHeldByCurrentThread && _state == State.New);
        _state = State.Sending;
        // The timer must not keep the execution context of the publisher.
        using var suppressed = ExecutionContext.SuppressFlow();
        _timer = time.CreateTimer(
            static outbox => ((GroupOutbox)outbox!).FailExpired(), this, publishTimeout, Timeout.InfiniteTimeSpan);
    }

    void CloseLocked()
    {
        Debug.Assert(_lock.IsHeldByCurrentThread && _state == State.Sending);
        _state = State.Closed;
        _timer?.Dispose();
        onClosed(this);
    }

    /// <summary>
    /// Reports a timeout for each message whose timeout has expired. Then sets the timer for the next message.
    /// </summary>
    void FailExpired()
    {
        lock (_lock)
        {
            if (_state == State.Closed) return;
            var remaining = publishTimeout;
            var expired = new List<OutboxEntry>();
            foreach (var entry in _inFlight.Concat(_waiting))
            {
                if (entry.IsDropped || entry.Task.IsCompleted) continue;
                remaining = publishTimeout - time.GetElapsedTime(entry.Timestamp);
                // The entries are in the order of their publish calls. So no later entry has expired.
                if (remaining > TimeSpan.Zero) break;
                expired.Add(entry);
                remaining = publishTimeout;
            }

            foreach (var entry in expired)
            {
                if (!entry.IsInFlight) DropLocked(entry);
                entry.Fail(CreateTimeoutException());
            }

            // Add one millisecond, because a timer rounds down to whole milliseconds.
            _timer?.Change(remaining + TimeSpan.FromMilliseconds(1), Timeout.InfiniteTimeSpan);
        }
    }
}
