using System.Collections.Concurrent;
using Broadcast.Middleware.Redis.Connections;
using Broadcast.Middleware.Redis.Diagnostics;
using Broadcast.Middleware.Redis.Storage;
using Broadcast.Middleware.Redis.Threading;

namespace Broadcast.Middleware.Redis.Subscriptions;

/// <summary>Manages the subscriptions of this node, and checks all subscriptions regularly.</summary>
sealed class SubscriptionManager(
    RedisConnection connection, RepairWindow repairWindow, TimeSpan publishTimeout, TimeSpan checkInterval,
    IBackplaneReceiver receiver, TimeProvider time, RedisMetrics metrics, RedisLogger logger)
{
    const int MaxParallelChecks = 256;

    /// <summary>The number of fast checks after a reconnect.</summary>
    const int FastCheckCount = 10;

    /// <summary>
    /// The number of additional groups that lengthens the interval of fast checks by one step. The longer interval
    /// limits the load on Redis when all nodes reconnect at the same time.
    /// </summary>
    const int GroupsPerFastCheckInterval = 1000;

    static readonly TimeSpan FastCheckInterval = TimeSpan.FromMilliseconds(200);

    /// <summary>
    /// The maximum time of one check. A check must not take longer, because a slow check delays the checks of all
    /// groups.
    /// </summary>
    static readonly TimeSpan MaxCheckTimeout = TimeSpan.FromSeconds(5);

    readonly TimeSpan _checkTimeout = publishTimeout < MaxCheckTimeout ? publishTimeout : MaxCheckTimeout;
    readonly ConcurrentDictionary<string, GroupSubscription> _groups = new(StringComparer.Ordinal);

    // This dictionary contains the ended subscriptions that may still run a receiver call. The next subscription to the
    // same group waits for these calls. So receiver calls for one group never overlap.
    readonly ConcurrentDictionary<string, Task> _ending = new(StringComparer.Ordinal);
    readonly AsyncAutoResetEvent _checkRequested = new(time);

    public async Task<BackplaneSubscription> SubscribeAsync(
        string group, GroupOptions? history, CancellationToken cancellationToken)
    {
        cancellationToken.ThrowIfCancellationRequested();
        var subscription = new GroupSubscription(
            group, repairWindow, history, connection, receiver, metrics, logger, Remove);
        if (!_groups.TryAdd(group, subscription))
            throw new InvalidOperationException("This node is already subscribed to the group. Unsubscribe first.");
        try
        {
            var deadline = connection.GetDeadline(publishTimeout);
            if (_ending.TryGetValue(group, out var previous))
                await previous.WaitAsync(publishTimeout, time, cancellationToken);
            return await subscription.StartAsync(deadline, cancellationToken);
        }
        catch (Exception exception)
        {
            Remove(subscription);
            subscription.End();
            if (exception is not TimeoutException) throw;
            throw new BackplaneException(
                "The receiver has not finished the previous subscription of the group in time. Subscribe again later.",
                exception);
        }
    }

    /// <inheritdoc cref="GroupSubscription.OnAcknowledged"/>
    public void OnAcknowledged(string group, string epoch, long last, string tag)
    {
        if (_groups.TryGetValue(group, out var subscription)) subscription.OnAcknowledged(epoch, last, tag);
    }

    public void Unsubscribe(string group)
    {
        if (!_groups.TryGetValue(group, out var subscription)) return;
        Remove(subscription);
        subscription.End();
    }

    /// <summary>Starts fast checks. Call this method after a reconnect, because messages may be missing.</summary>
    public void CheckSoon() => _checkRequested.Set();

    /// <summary>Checks all groups at each interval until the node stops.</summary>
    public async Task RunChecksAsync(CancellationToken stopping)
    {
        var remainingFastChecks = 0;
        while (!stopping.IsCancellationRequested)
        {
            try
            {
                var fastInterval = FastCheckInterval * (1 + _groups.Count / GroupsPerFastCheckInterval);
                var interval = remainingFastChecks > 0 && fastInterval < checkInterval ? fastInterval : checkInterval;
                var isRequested = await _checkRequested.WaitAsync(interval, stopping);
                remainingFastChecks = isRequested ? FastCheckCount : Math.Max(remainingFastChecks - 1, 0);
                if (!connection.IsConnected()) continue;
                foreach (var subscriptions in _groups.Values.Chunk(MaxParallelChecks))
                    await Task.WhenAll(subscriptions.Select(CheckAsync));
            }
            catch (OperationCanceledException) when (stopping.IsCancellationRequested)
            {
                return;
            }
            catch (Exception exception)
            {
                logger.UnexpectedError(exception);
            }
        }
    }

    public void EndAll()
    {
        foreach (var (group, _) in _groups) Unsubscribe(group);
    }

    /// <summary>
    /// Moves a subscription from the active subscriptions to the ending subscriptions. An ending subscription stays in
    /// the dictionary until no receiver call runs.
    /// </summary>
    void Remove(GroupSubscription subscription)
    {
        var group = subscription.Group;
        var ending = _ending.AddOrUpdate(
            group,
            static (_, ended) => ended,
            static (_, previous, ended) => Task.WhenAll(previous, ended),
            subscription.Ended);
        _groups.TryRemove(new KeyValuePair<string, GroupSubscription>(group, subscription));
        _ = ending.ContinueWith(
            ended => _ending.TryRemove(new KeyValuePair<string, Task>(group, ended)),
            CancellationToken.None, TaskContinuationOptions.ExecuteSynchronously, TaskScheduler.Default);
    }

    async Task CheckAsync(GroupSubscription subscription)
    {
        try
        {
            await subscription.CheckAsync(_checkTimeout);
        }
        catch (Exception exception) when (exception is BackplaneException or OperationCanceledException)
        {
            // Ignore the error, because the next check queries Redis again.
        }
    }
}
