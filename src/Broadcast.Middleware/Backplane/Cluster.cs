using System.Collections.Concurrent;

namespace Broadcast.Middleware;

/// <summary>
/// What a broadcast has to do with other nodes. A message is published by handing it to the backplane; it is appended to this node's log when it
/// comes back, numbered, as it is on every other node that has members of its group.
/// </summary>
sealed class Cluster : IBackplaneReceiver
{
    readonly IBackplane _backplane;
    readonly Broadcaster _broadcaster;
    readonly ConcurrentDictionary<string, ClusterGroup> _groups = new(StringComparer.Ordinal);
    readonly Lock _gate = new();

    public Cluster(IBackplane backplane, Broadcaster broadcaster)
    {
        (_backplane, _broadcaster) = (backplane, broadcaster);
        Neighbours = new Neighbours(backplane, broadcaster);
        Members = new ClusterMembers(backplane, Neighbours.Node, broadcaster.Log);
    }

    public Neighbours Neighbours { get; }

    public ClusterMembers Members { get; }

    public SharedCopies Copies { get; } = new();

    /// <summary>Ends when others can reach this node.</summary>
    public Task Opening { get; private set; } = Task.CompletedTask;

    /// <summary>When the broadcast is ready for what comes.</summary>
    public void Begin()
    {
        _backplane.Start(this);
        Opening = Neighbours.BeginAsync();
    }

    /// <summary>From now on the group is on this node, with everything that is published to it, until it was released as often as held.</summary>
    /// <exception cref="BackplaneException">The cluster cannot be reached.</exception>
    public async ValueTask<ClusterGroup> HoldAsync(string name, CancellationToken cancellationToken)
    {
        ClusterGroup group;
        lock (_gate)
        {
            // One that has broken off; the backplane may not know, or may have meant the one before.
            if (_groups.TryGetValue(name, out var known) && known is { IsLost: true, IsSettled: true }) End(known);
            group = _groups.GetOrAdd(name, static name => new ClusterGroup(name));
            group.Holds++;
            group.Ready ??= Observed(SubscribeAsync(group));
        }

        try
        {
            await group.Ready.WaitAsync(cancellationToken);
            return group;
        }
        catch
        {
            Release(group);
            throw;
        }
    }

    /// <summary>Those who wait for it may all have given up before it fails.</summary>
    static Task Observed(Task task)
    {
        _ = task.ContinueWith(static ended => _ = ended.Exception, CancellationToken.None, TaskContinuationOptions.OnlyOnFaulted | TaskContinuationOptions.ExecuteSynchronously, TaskScheduler.Default);
        return task;
    }

    public void Release(ClusterGroup group)
    {
        lock (_gate)
        {
            // One that is still being subscribed to is looked at again when that has come to something.
            if (--group.Holds > 0 || !group.IsSettled) return;
            End(group);
        }
    }

    /// <summary>The caller holds the gate.</summary>
    void End(ClusterGroup group)
    {
        if (group.Group is not null) _broadcaster.Groups.Remove(group.Group);
        if (!_groups.TryRemove(new(group.Name, group))) return;
        try
        {
            _backplane.Unsubscribe(group.Name);
        }
        catch (Exception exception)
        {
            // It may not, and whoever leaves is not to stay counted for it.
            _broadcaster.Log.BackplaneFailed(exception);
        }
    }

    async Task SubscribeAsync(ClusterGroup group)
    {
        // Not under the gate, whatever the backplane does at first.
        await Task.Yield();
        try
        {
            var history = _broadcaster.Groups.SettingsOf(group.Name).History;
            var subscription = await _backplane.SubscribeAsync(group.Name, history).ConfigureAwait(false);
            lock (_gate)
            {
                group.IsSettled = true;
                var kept = ReadableEnd(subscription.History);
                var first = subscription.Position with { Offset = subscription.Position.Offset - kept.Count };
                try
                {
                    if (group.Begin(_broadcaster.Groups.Create(group.Name, first, group), kept, _broadcaster)) _broadcaster.Groups.Add(group.Group!);
                }
                catch (InvalidDataException exception)
                {
                    Break(group, exception);
                }

                if (group.Holds == 0) End(group);
            }
        }
        catch
        {
            // Whoever comes next tries again; and whether the subscription stands, nobody knows.
            lock (_gate)
            {
                group.IsSettled = true;
                End(group);
            }

            throw;
        }
    }

    /// <summary>The newest messages, after the last one that cannot be read.</summary>
    List<ClusterMessage> ReadableEnd(IReadOnlyList<ReadOnlyMemory<byte>> history)
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
                _broadcaster.Log.ClusterMessageUnreadable(exception);
                messages.Clear();
            }
        }

        return messages;
    }

    public async ValueTask<PublishResult> PublishAsync(string name, Message message, Exclusions? exclusions, CancellationToken cancellationToken)
    {
        var position = await _backplane.PublishAsync(name, Encode(message, exclusions, 0), _broadcaster.Groups.SettingsOf(name).History, cancellationToken);
        return new(position, _broadcaster.CountMembers(name, exclusions));
    }

    /// <summary>To each of them, and once to who is in more than one.</summary>
    public async ValueTask<PublishResult> PublishAsync(IReadOnlyCollection<string> names, Message message, Exclusions? exclusions, CancellationToken cancellationToken)
    {
        var bytes = Encode(message, exclusions, names.Count > 1 ? Random.Shared.NextInt64(1, long.MaxValue) : 0);
        // All of them, also if one fails at once.
        await Task.WhenAll(names.Select(async name => await _backplane.PublishAsync(name, bytes, _broadcaster.Groups.SettingsOf(name).History, cancellationToken)));
        return new(null, names.Sum(name => _broadcaster.CountMembers(name, exclusions)));
    }

    /// <summary>To a connection, or to a user: on this node at once, and on the others that have them.</summary>
    public async ValueTask<PublishResult> SendAsync(Message message, Recipients recipients, CancellationToken cancellationToken)
    {
        var result = _broadcaster.PublishHere(message, recipients);
        // Nobody else has a connection that is here.
        if (recipients.Kind == RecipientsKind.User || result.LocalRecipients == 0)
            await Neighbours.SendAsync(recipients, Encode(message, recipients.Exclusions, 0), cancellationToken);
        return result;
    }

    ReadOnlyMemory<byte> Encode(Message message, Exclusions? exclusions, long sharedId) =>
        new ClusterMessage(message, exclusions?.ConnectionIds ?? [], _broadcaster.Time.GetUtcNow(), sharedId).Encode();

    public void OnMessage(string group, Position position, ReadOnlyMemory<byte> message)
    {
        if (group == Neighbours.Inbox)
        {
            OnPrivateMessage(message);
            return;
        }

        if (!_groups.TryGetValue(group, out var known)) return;
        try
        {
            known.OnMessage(position, message, _broadcaster);
        }
        catch (InvalidDataException exception)
        {
            Break(known, exception);
        }
    }

    /// <summary>It is still subscribed to, which ends when the last member has left, or before the next one comes: not here, within a call of the backplane's.</summary>
    void Break(ClusterGroup group, InvalidDataException cause)
    {
        _broadcaster.Log.ClusterMessageUnreadable(cause);
        Break(group);
    }

    void Break(ClusterGroup group)
    {
        _broadcaster.Log.ClusterGroupLost();
        if (group.Group is not null) _broadcaster.Groups.Remove(group.Group);
        group.Break();
    }

    void OnPrivateMessage(ReadOnlyMemory<byte> message)
    {
        try
        {
            Neighbours.OnMessage(message);
        }
        catch (InvalidDataException exception)
        {
            _broadcaster.Log.ClusterMessageUnreadable(exception);
            _ = Task.Run(CloseEverybody);
        }
        catch (Exception exception)
        {
            // Such as a registry that throws: no matter of the backplane's, nor of the next message.
            _broadcaster.Log.FromOtherNodeFailed(exception);
        }
    }

    public void OnLost(string group)
    {
        if (group == Neighbours.Inbox)
        {
            OnInboxLost();
            return;
        }

        // No gate: the backplane may call this within one of its own. And it stays: whether the subscription that is known here has ended, or the
        // one before, it is ended for sure before the next one begins.
        if (_groups.TryGetValue(group, out var lost)) Break(lost);
    }

    /// <summary>Messages for single connections may be missing, and nobody knows whose.</summary>
    void OnInboxLost()
    {
        _broadcaster.Log.ClusterGroupLost();
        Neighbours.OnLost();
        // Elsewhere: the backplane may call this within a lock of its own, and the registry is the app's.
        var before = Opening;
        Opening = Task.Run(async () =>
        {
            CloseEverybody();
            await before;
            await Neighbours.BeginAsync();
        });
    }

    void CloseEverybody()
    {
        try
        {
            foreach (var connection in _broadcaster.Connections.Connections.OfType<Connection>()) connection.CloseLost();
        }
        catch (Exception exception)
        {
            _broadcaster.Log.FromOtherNodeFailed(exception);
        }
    }
}
