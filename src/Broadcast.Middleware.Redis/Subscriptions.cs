using System.Collections.Concurrent;

namespace Broadcast.Middleware;

/// <summary>All groups of this node.</summary>
sealed class Subscriptions(RedisLink link, RedisBackplaneOptions options, IBackplaneReceiver receiver, TimeProvider time, RedisMetrics metrics, RedisLog log)
{
    const int ChecksAtOnce = 256;
    const int Hurries = 10;

    /// <summary>A node of many groups hurries less: Redis has to bear that all nodes have come back at once.</summary>
    const int GroupsPerHurry = 1000;
    static readonly TimeSpan Hurry = TimeSpan.FromMilliseconds(200);

    /// <summary>All groups wait for one that is asked about.</summary>
    static readonly TimeSpan Patience = TimeSpan.FromSeconds(5);

    readonly ConcurrentDictionary<string, Subscription> _groups = new(StringComparer.Ordinal);

    // What may still be handing something out: its successor waits for it, so that calls about a group never overlap.
    readonly ConcurrentDictionary<string, Task> _ending = new(StringComparer.Ordinal);
    readonly Signal _soon = new(time);

    public async Task<BackplaneSubscription> SubscribeAsync(string group, GroupOptions? history, CancellationToken cancellationToken)
    {
        cancellationToken.ThrowIfCancellationRequested();
        var subscription = new Subscription(group, Outbox.KeepFor(history, options), this, link, receiver, metrics, log);
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
                var hurry = Hurry * (1 + _groups.Count / GroupsPerHurry);
                var soon = await _soon.WaitAsync(hurries > 0 && options.CheckInterval > hurry ? hurry : options.CheckInterval, ending);
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
            await subscription.CheckAsync(options.PublishTimeout < Patience ? options.PublishTimeout : Patience);
        }
        catch (Exception exception) when (exception is BackplaneException or OperationCanceledException)
        {
            // The next time, if it has not ended.
        }
    }
}
