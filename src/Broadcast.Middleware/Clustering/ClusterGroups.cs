using System.Collections.Concurrent;
using Broadcast.Middleware.Delivery;
using Broadcast.Middleware.Diagnostics;

namespace Broadcast.Middleware.Clustering;

/// <summary>
/// Subscribes this node to each group that has members on this node. A subscription ends when the number of releases
/// equals the number of acquisitions.
/// </summary>
/// <param name="backplane">The backplane.</param>
/// <param name="directory">The groups of this node.</param>
/// <param name="idWindow">See <see cref="BroadcastOptions.MessageIdWindow"/>.</param>
/// <param name="time">The time provider.</param>
/// <param name="logger">The logger.</param>
/// <param name="tracing">Creates a span for each message that contains the <c>traceparent</c> of the publisher.</param>
sealed class ClusterGroups(
    IBackplane backplane,
    GroupDirectory directory,
    TimeSpan idWindow,
    TimeProvider time,
    BroadcastLogger logger,
    BroadcastTracing tracing) : IGroupProvider
{
    readonly ConcurrentDictionary<string, ClusterGroup> _groups = new(StringComparer.Ordinal);
    readonly CopyTracker _copies = new(idWindow);
    readonly Lock _gate = new();

    public bool CanAcquire(string name) =>
        backplane.IsReachable || _groups.GetValueOrDefault(name) is { Group: not null, IsLost: false };

    public async ValueTask<Group> AcquireAsync(string name, CancellationToken cancellationToken)
    {
        ClusterGroup group;
        lock (_gate)
        {
            // End a lost subscription first. The backplane may not know that the subscription is lost.
            if (_groups.GetValueOrDefault(name) is { IsLost: true, IsSettled: true } lost) EndLocked(lost);
            group = _groups.GetOrAdd(
                name, static (name, groups) => new ClusterGroup(name, groups._copies, groups.Time), this);
            group.Uses++;
            // Subscribe outside the lock, because the backplane may run any code.
            group.Ready ??= Observe(BackgroundWork.Run(() => SubscribeAsync(group)));
        }

        try
        {
            await group.Ready.WaitAsync(cancellationToken);
            return group.Group!;
        }
        catch
        {
            Release(group);
            throw;
        }
    }

    public void Release(Group group, bool isEmpty)
    {
        // Ignore a late release of a lost group. A new group with the same name may already exist.
        if (_groups.TryGetValue(group.Name, out var known) && known.Group == group) Release(known);
    }

    /// <summary>
    /// Receives a message of a group. The method ignores messages of unknown groups, because a message may arrive after
    /// the end of a subscription.
    /// </summary>
    public void OnMessage(string name, Position position, ReadOnlyMemory<byte> message) =>
        OnMessage(name, position, message, isTransient: false);

    /// <summary>Receives a transient message of a group.</summary>
    /// <param name="name">The name of the group.</param>
    /// <param name="after">The position of the last message before this message.</param>
    /// <param name="message">The message.</param>
    public void OnTransientMessage(string name, Position after, ReadOnlyMemory<byte> message) =>
        OnMessage(name, after, message, isTransient: true);

    void OnMessage(string name, Position position, ReadOnlyMemory<byte> message, bool isTransient)
    {
        if (!_groups.TryGetValue(name, out var group)) return;
        try
        {
            var startTime = tracing.GetTime();
            var publisher = group.OnMessage(position, message, isTransient);
            if (publisher is not null && tracing.IsActive) tracing.Delivered(publisher, name, startTime);
        }
        catch (InvalidDataException exception)
        {
            Break(group, exception);
        }
    }

    /// <summary>
    /// Marks a group as broken, because messages are missing. Invariant: this method takes no lock of this class,
    /// because the caller may hold the lock of the backplane. The subscription ends when the last member leaves, or
    /// before the next member joins.
    /// </summary>
    public void OnLost(string name)
    {
        if (_groups.TryGetValue(name, out var group)) Break(group);
    }

    TimeProvider Time => time;

    /// <summary>
    /// Reads the exception of a failed task. Otherwise, .NET would report an unobserved exception if no caller waits
    /// for the task.
    /// </summary>
    static Task Observe(Task task)
    {
        _ = task.ContinueWith(
            static failed => _ = failed.Exception,
            CancellationToken.None,
            TaskContinuationOptions.OnlyOnFaulted | TaskContinuationOptions.ExecuteSynchronously,
            TaskScheduler.Default);
        return task;
    }

    void Release(ClusterGroup group)
    {
        lock (_gate)
        {
            // Do nothing before the subscription has succeeded or failed. SubscribeAsync ends an unused subscription.
            if (--group.Uses > 0 || !group.IsSettled) return;
            EndLocked(group);
        }
    }

    void EndLocked(ClusterGroup group)
    {
        if (group.Group is not null) directory.Remove(group.Group);
        if (!_groups.TryRemove(new(group.Name, group))) return;
        try
        {
            backplane.Unsubscribe(group.Name);
        }
        catch (Exception exception)
        {
            // Unsubscribe must not throw. If Unsubscribe throws, this node has still removed the group.
            logger.BackplaneFailed(exception);
        }
    }

    async Task SubscribeAsync(ClusterGroup group)
    {
        try
        {
            var limits = directory.GetSettings(group.Name).Kept;
            var subscription = await backplane.SubscribeAsync(group.Name, limits).ConfigureAwait(false);
            var messages = DecodeHistory(subscription.History);
            var start = new Position(subscription.Position.Epoch, subscription.Position.Offset - messages.Count);
            var retained = DecodeRetained(subscription.Retained, start);
            lock (_gate)
            {
                group.IsSettled = true;
                Start(group, start, retained, messages);
                if (group.Uses == 0) EndLocked(group);
            }
        }
        catch
        {
            // A failed call may still have created the subscription, so end the subscription. The next join subscribes
            // again.
            lock (_gate)
            {
                group.IsSettled = true;
                EndLocked(group);
            }

            throw;
        }
    }

    void Start(
        ClusterGroup group,
        Position start,
        List<(long Offset, ClusterMessage Message)> retained,
        List<ClusterMessage> history)
    {
        try
        {
            if (group.Start(directory.Create(group.Name, start), retained, history)) directory.Add(group.Group!);
        }
        catch (InvalidDataException exception)
        {
            Break(group, exception);
        }
    }

    /// <summary>Decodes the history. Returns only the messages after the last invalid message.</summary>
    List<ClusterMessage> DecodeHistory(IReadOnlyList<ReadOnlyMemory<byte>> history)
    {
        var messages = new List<ClusterMessage>(history.Count);
        foreach (var message in history)
        {
            try
            {
                messages.Add(ClusterMessage.Decode(message));
            }
            catch (InvalidDataException exception)
            {
                logger.ClusterMessageUnreadable(exception);
                messages.Clear();
            }
        }

        return messages;
    }

    /// <summary>
    /// Decodes the retained values that are older than the history. The result does not contain invalid messages.
    /// </summary>
    List<(long Offset, ClusterMessage Message)> DecodeRetained(IReadOnlyList<RetainedMessage> retained, Position start)
    {
        var messages = new List<(long, ClusterMessage)>();
        foreach (var message in retained)
        {
            // The history contains the later messages.
            if (message.Offset > start.Offset) continue;
            try
            {
                messages.Add((message.Offset, ClusterMessage.Decode(message.Message)));
            }
            catch (InvalidDataException exception)
            {
                logger.ClusterMessageUnreadable(exception);
            }
        }

        return messages;
    }

    void Break(ClusterGroup group, InvalidDataException cause)
    {
        logger.ClusterMessageUnreadable(cause);
        Break(group);
    }

    void Break(ClusterGroup group)
    {
        logger.ClusterGroupLost();
        if (group.Group is not null) directory.Remove(group.Group);
        group.Break();
    }
}
