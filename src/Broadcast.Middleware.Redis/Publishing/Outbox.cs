using System.Collections.Concurrent;
using Broadcast.Middleware.Redis.Connections;
using Broadcast.Middleware.Redis.Diagnostics;

namespace Broadcast.Middleware.Redis.Publishing;

/// <summary>
/// All messages that this node must still publish to Redis. Each group has its own <see cref="GroupOutbox"/>.
/// </summary>
sealed class Outbox(
    BatchPublisher publisher, TimeSpan publishTimeout, long maxBytes, OutageCheck outages,
    TimeProvider time, RedisMetrics metrics)
{
    /// <summary>The number of bytes that the outbox counts for each message in addition to the payload.</summary>
    const int MessageOverhead = 64;

    readonly ConcurrentDictionary<string, GroupOutbox> _groups = new(StringComparer.Ordinal);
    readonly OutboxBudget _budget = new(maxBytes);

    /// <summary>
    /// The bytes of all messages that Redis has not acknowledged. A canceled message in a batch counts until the batch
    /// has ended.
    /// </summary>
    public long Bytes => _budget.Used;

    /// <summary>
    /// The number of messages that wait for a batch, including canceled messages. Only tests use this property.
    /// </summary>
    internal int Count => _groups.Values.Sum(static group => group.Count);

    /// <summary>True if no message waits and no batch is in flight. Only tests use this property.</summary>
    internal bool IsIdle => _groups.IsEmpty;

    /// <summary>
    /// Publishes a message and returns its position. Ignore the returned position of a transient message.
    /// </summary>
    public async ValueTask<Position> PublishAsync(
        string group, ReadOnlyMemory<byte> message, bool isTransient, PublishOnce? once, GroupOptions? history,
        RetainedKey? key, CancellationToken cancellationToken)
    {
        cancellationToken.ThrowIfCancellationRequested();
        if (outages.Find(group) is { } outage)
        {
            CountFailure(outage, once);
            throw outage;
        }

        if (!_budget.TryReserve(message.Length + MessageOverhead))
        {
            metrics.Failed();
            throw new BackplaneException(
                $"The outbox is full: {_budget.Used} bytes wait to be published, and " +
                $"{nameof(RedisBackplaneOptions.MaxOutboxBytes)} is {maxBytes}. Redis is slow or unreachable. " +
                "Publish less, or raise the limit.");
        }

        var entry = new OutboxEntry(
            message.ToArray(), isTransient, once, history, key, time.GetTimestamp(), _budget,
            message.Length + MessageOverhead);
        var queue = _groups.GetOrAdd(group, static (name, outbox) => outbox.Create(name), this);
        while (!queue.TryAdd(entry))
        {
            // The GroupOutbox has closed and is no longer in the dictionary. So create a new GroupOutbox.
            queue = _groups.GetOrAdd(group, static (name, outbox) => outbox.Create(name), this);
        }

        try
        {
            var position = await entry.Task.WaitAsync(cancellationToken);
            if (metrics.MeasuresDuration) metrics.PublishTook(time.GetElapsedTime(entry.Timestamp));
            return position;
        }
        catch (BackplaneException exception)
        {
            CountFailure(exception, once);
            throw;
        }
        catch (InvalidOperationException)
        {
            // The group cannot retain the message.
            metrics.Failed();
            throw;
        }
        catch (OperationCanceledException)
        {
            queue.Cancel(entry);
            throw;
        }
    }

    /// <summary>
    /// Counts a failed publish, unless the node delivers the message to its own connections instead. A failed
    /// publish of a message with an ID always counts.
    /// </summary>
    void CountFailure(BackplaneException exception, PublishOnce? once)
    {
        if (!exception.DeliverLocally || once is not null) metrics.Failed();
    }

    GroupOutbox Create(string group) => new(group, publishTimeout, publisher, outages, time, Remove);

    void Remove(GroupOutbox outbox) =>
        _groups.TryRemove(new KeyValuePair<string, GroupOutbox>(outbox.Group, outbox));
}
