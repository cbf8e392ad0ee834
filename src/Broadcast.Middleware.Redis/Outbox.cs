using System.Collections.Concurrent;
using System.Globalization;

namespace Broadcast.Middleware;

/// <summary>
/// What this node publishes, a lane for each group: one batch under way, and in order behind it what came meanwhile, which goes as the next batch.
/// </summary>
sealed class Outbox(RedisLink link, string node, RedisBackplaneOptions options, TimeProvider time, RedisMetrics metrics)
{
    /// <summary>A publish costs something, however short its message.</summary>
    const int Overhead = 64;

    readonly ConcurrentDictionary<string, OutboxLane> _lanes = new(StringComparer.Ordinal);
    readonly string _keepTaken = Milliseconds(options.PublishTimeout * 2 > TimeSpan.FromMinutes(1) ? options.PublishTimeout * 2 : TimeSpan.FromMinutes(1));
    readonly OutboxBudget _budget = new(options.MaxOutboxBytes);
    long _number;

    public long Bytes => _budget.Taken;

    /// <summary>For tests: how many wait for a batch, whether or not anybody waits for them.</summary>
    internal int Count => _lanes.Values.Sum(static lane => lane.Count);

    public async ValueTask<Position> PublishAsync(string group, ReadOnlyMemory<byte> message, GroupOptions? history, CancellationToken cancellationToken)
    {
        cancellationToken.ThrowIfCancellationRequested();
        if (options.WhenUnreachable == WhenUnreachable.Fail && !link.IsConnected)
        {
            metrics.Failed();
            throw new BackplaneException($"Redis cannot be reached, and {nameof(options.WhenUnreachable)} is {nameof(WhenUnreachable.Fail)}.");
        }

        if (!_budget.TryTake(message.Length + Overhead))
        {
            metrics.Failed();
            throw new BackplaneException(
                $"The outbox is full: {_budget.Taken} bytes wait to be published, and {nameof(options.MaxOutboxBytes)} is {options.MaxOutboxBytes}. " +
                "Redis is slow or away; publish less, or raise the limit.");
        }

        var entry = new OutboxEntry(message.ToArray(), history, time.GetTimestamp(), _budget, message.Length + Overhead);
        while (!_lanes.GetOrAdd(group, static (name, outbox) => outbox.LaneOf(name), this).TryAdd(entry))
        {
            // It has just ended, and is no longer in the dictionary.
        }

        try
        {
            var position = await entry.Task.WaitAsync(cancellationToken);
            if (metrics.MeasuresDuration) metrics.Took(time.GetElapsedTime(entry.At));
            return position;
        }
        catch (BackplaneException)
        {
            metrics.Failed();
            throw;
        }
        finally
        {
            entry.Done();
        }
    }

    OutboxLane LaneOf(string group) => new(this, group, options.PublishTimeout, time);

    public void Remove(string group, OutboxLane lane) => _lanes.TryRemove(new KeyValuePair<string, OutboxLane>(group, lane));

    /// <summary>Sends one batch, until Redis has it or all who published it have given up.</summary>
    public async Task SendAsync(string group, OutboxLane lane, List<OutboxEntry> batch)
    {
        try
        {
            var (body, bytes, history, latest) = Gather(batch);
            var deadline = latest + (long)(options.PublishTimeout.TotalSeconds * time.TimestampFrequency);
            // What their publishers are told has failed is not to be sent now.
            if (time.GetTimestamp() >= deadline) throw lane.TimeIsUp();
            var names = (await link.KeysAsync(deadline)).Of(group);
            // Of one node, later batches have higher numbers: one that was given up and arrives late is recognized.
            var number = Interlocked.Increment(ref _number);
            var answer = await link.RunAsync(
                Scripts.Publish,
                [names.State, names.Stream, names.Index],
                [
                    Epoch.New(), names.Wire, node, number, batch.Count, bytes, body,
                    options.RepairMessages, options.RepairBytes, Milliseconds(options.RepairAge),
                    history?.HistoryMessages ?? 0, history?.HistoryBytes ?? 0, history is null || history.HistoryAge == Timeout.InfiniteTimeSpan ? "1000000000000000" : Milliseconds(history.HistoryAge),
                    Milliseconds(KeepFor(history, options)), _keepTaken,
                ],
                deadline,
                once: options.WhenUnreachable == WhenUnreachable.Fail,
                failed: problem => lane.Problem = problem);
            lane.Problem = null;
            var epoch = Epoch.Read((string)answer[0]!);
            var first = (long)answer[1] - batch.Count + 1;
            metrics.Published(batch.Count);
            for (var i = 0; i < batch.Count; i++) batch[i].Succeed(new(epoch, first + i));
        }
        catch (Exception exception)
        {
            var told = exception switch
            {
                // What the batches before met says more than that there was no time left for this one.
                BackplaneException { InnerException: TimeoutException } => lane.TimeIsUp(),
                BackplaneException known => known,
                _ => new BackplaneException("The message could not be published.", exception),
            };
            foreach (var entry in batch) entry.Fail(told);
        }
    }

    static (byte[] Body, long Bytes, GroupOptions? History, long Latest) Gather(List<OutboxEntry> batch)
    {
        var size = 0;
        foreach (var entry in batch) size += Batch.SizeOf(entry.Message.Length);
        var body = new byte[size];
        var (at, bytes, latest) = (0, 0L, 0L);
        GroupOptions? history = null;
        foreach (var entry in batch)
        {
            Batch.Append(body, ref at, entry.Message);
            bytes += entry.Message.Length + History.Overhead;
            history = entry.History ?? history;
            if (entry.At > latest) latest = entry.At;
        }

        return (body, bytes, history, latest);
    }

    /// <summary>How long a group's stream is kept after its last message; null for ever.</summary>
    public static TimeSpan? KeepFor(GroupOptions? history, RedisBackplaneOptions options)
    {
        if (history is not { HistoryMessages: > 0 }) return options.RepairAge;
        if (history.HistoryAge == Timeout.InfiniteTimeSpan) return null;
        return history.HistoryAge > options.RepairAge ? history.HistoryAge : options.RepairAge;
    }

    /// <summary>0 for ever.</summary>
    public static string Milliseconds(TimeSpan? time) => ((long)(time?.TotalMilliseconds ?? 0)).ToString(CultureInfo.InvariantCulture);
}
