using System.Collections.Concurrent;

namespace Broadcast.Middleware;

/// <summary>All groups of this node.</summary>
sealed class Subscriptions(RedisLink link, RedisBackplaneOptions options, IBackplaneReceiver receiver, TimeProvider time, RedisMetrics metrics, RedisLog log)
{
    const int ChecksAtOnce = 256;
    static readonly TimeSpan Hurry = TimeSpan.FromMilliseconds(200);
    const int Hurries = 10;

    readonly ConcurrentDictionary<string, Subscription> _groups = new(StringComparer.Ordinal);

    // What may still be handing something out: its successor waits for it, so that calls about a group never overlap.
    readonly ConcurrentDictionary<string, Task> _ending = new(StringComparer.Ordinal);
    readonly Signal _soon = new(time);

    public int Count => _groups.Count;

    public async Task<BackplaneSubscription> SubscribeAsync(string group, GroupOptions? history, CancellationToken cancellationToken)
    {
        cancellationToken.ThrowIfCancellationRequested();
        var forever = history is { HistoryMessages: > 0 } && history.HistoryAge == Timeout.InfiniteTimeSpan;
        var age = history is { HistoryMessages: > 0 } && history.HistoryAge > options.RepairAge ? history.HistoryAge : options.RepairAge;
        var subscription = new Subscription(group, forever ? "0" : Outbox.Milliseconds(age), this, link, receiver, metrics, log);
        if (!_groups.TryAdd(group, subscription)) throw new InvalidOperationException("This node has subscribed to the group already.");
        try
        {
            var deadline = link.DeadlineAfter(options.PublishTimeout);
            if (_ending.TryGetValue(group, out var before)) await before.WaitAsync(options.PublishTimeout, time, cancellationToken);
            return await subscription.StartAsync(history, deadline, cancellationToken);
        }
        catch (Exception exception)
        {
            Remove(group, subscription);
            subscription.End();
            if (exception is TimeoutException) throw new BackplaneException("What came before for this group has not been taken in time.", exception);
            throw;
        }
    }

    public void Unsubscribe(string group)
    {
        if (!_groups.TryGetValue(group, out var subscription)) return;
        Remove(group, subscription);
        subscription.End();
    }

    public void Remove(string group, Subscription subscription)
    {
        var ending = _ending.AddOrUpdate(group, static (_, ended) => ended, static (_, before, ended) => Task.WhenAll(before, ended), subscription.Ended);
        _groups.TryRemove(new KeyValuePair<string, Subscription>(group, subscription));
        _ = ending.ContinueWith(
            ended => _ending.TryRemove(new KeyValuePair<string, Task>(group, ended)), CancellationToken.None, TaskContinuationOptions.ExecuteSynchronously, TaskScheduler.Default);
    }

    /// <summary>A connection has come back: what was missed meanwhile is to be noticed soon.</summary>
    public void CheckSoon() => _soon.Set();

    public async Task CheckAsync(CancellationToken ending)
    {
        var hurries = 0;
        while (!ending.IsCancellationRequested)
        {
            try
            {
                var soon = await _soon.WaitAsync(hurries > 0 && options.CheckInterval > Hurry ? Hurry : options.CheckInterval, ending);
                hurries = soon ? Hurries : Math.Max(hurries - 1, 0);
                if (!link.IsConnected) continue;
                foreach (var some in _groups.Values.Chunk(ChecksAtOnce)) await Task.WhenAll(some.Select(CheckAsync));
            }
            catch (OperationCanceledException) when (ending.IsCancellationRequested)
            {
                return;
            }
            catch (Exception exception)
            {
                log.Unexpected(exception);
            }
        }
    }

    public void End()
    {
        foreach (var (group, _) in _groups) Unsubscribe(group);
    }

    async Task CheckAsync(Subscription subscription)
    {
        try
        {
            await subscription.CheckAsync(options.PublishTimeout);
        }
        catch (Exception exception) when (exception is BackplaneException or OperationCanceledException)
        {
            // The next time, if it has not ended.
        }
    }
}
