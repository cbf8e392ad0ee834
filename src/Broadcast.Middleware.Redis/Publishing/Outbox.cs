using System.Collections.Concurrent;
using Broadcast.Middleware.Redis.Connections;
using Broadcast.Middleware.Redis.Diagnostics;

namespace Broadcast.Middleware.Redis.Publishing;

/// <summary>
/// All messages of this node that wait to be published. Each group has its own <see cref="GroupOutbox"/>.
/// </summary>
sealed class Outbox(
    RedisConnection connection, BatchPublisher publisher, TimeSpan publishTimeout, long maxBytes, bool failsFast,
    TimeProvider time, RedisMetrics metrics)
{
    /// <summary>The bytes that each message counts in addition to its payload.</summary>
    const int MessageOverhead = 64;

    readonly ConcurrentDictionary<string, GroupOutbox> _groups = new(StringComparer.Ordinal);
    readonly OutboxBudget _budget = new(maxBytes);

    /// <summary>The bytes of all messages that Redis has not acknowledged.</summary>
    public long Bytes => _budget.Used;

    /// <summary>The number of messages that wait for a batch, including cancelled messages. For tests.</summary>
    internal int Count => _groups.Values.Sum(static group => group.Count);

    /// <summary>True if no message waits and no batch is in flight. For tests.</summary>
    internal bool IsIdle => _groups.IsEmpty;

    public async ValueTask<Position> PublishAsync(
        string group, ReadOnlyMemory<byte> message, GroupOptions? history, CancellationToken cancellationToken)
    {
        cancellationToken.ThrowIfCancellationRequested();
        if (failsFast && !connection.IsConnected)
        {
            metrics.Failed();
            throw new BackplaneException(
                $"Redis is unreachable, and {nameof(WhenUnreachable)} is {nameof(WhenUnreachable.Fail)}. " +
                $"Restore Redis, or set {nameof(WhenUnreachable)} to {nameof(WhenUnreachable.Wait)}.");
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
            message.ToArray(), history, time.GetTimestamp(), _budget, message.Length + MessageOverhead);
        while (!_groups.GetOrAdd(group, static (name, outbox) => outbox.Create(name), this).TryAdd(entry))
        {
            // The object was closed and removed from the dictionary. The next round creates a new one.
        }

        try
        {
            var position = await entry.Task.WaitAsync(cancellationToken);
            if (metrics.MeasuresDuration) metrics.PublishTook(time.GetElapsedTime(entry.Timestamp));
            return position;
        }
        catch (BackplaneException)
        {
            metrics.Failed();
            throw;
        }
        finally
        {
            entry.Release();
        }
    }

    GroupOutbox Create(string group) => new(group, publishTimeout, publisher, time, Remove);

    void Remove(GroupOutbox outbox) =>
        _groups.TryRemove(new KeyValuePair<string, GroupOutbox>(outbox.Group, outbox));
}
