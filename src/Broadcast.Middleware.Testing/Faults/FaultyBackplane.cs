namespace Broadcast.Middleware.Testing;

/// <summary>
/// A backplane with which a test can simulate faults. The class wraps another backplane, for example a node of an
/// <see cref="InMemoryCluster"/>.
/// </summary>
/// <remarks>
/// Each <see cref="BroadcastTestHost"/> of a cluster uses this class: see <see cref="BroadcastTestHost.Backplane"/>.
/// To simulate the loss of all data of the cluster, call <see cref="InMemoryCluster.Forget"/>.
/// </remarks>
/// <param name="backplane">The backplane without faults.</param>
public sealed class FaultyBackplane(IBackplane backplane) : IBackplane, IDisposable
{
    readonly IBackplane _backplane = backplane ?? throw new ArgumentNullException(nameof(backplane));
    readonly Lock _gate = new();
    readonly List<Action> _pendingChanges = [];
    readonly HashSet<string> _missed = new(StringComparer.Ordinal);
    volatile string? _unreachableGroup;
    volatile bool _isUnreachable;
    volatile bool _isLost;
    IBackplaneReceiver? _receiver;

    /// <summary>
    /// False if this node cannot reach the cluster. Every publish, subscription and query then throws a
    /// <see cref="BackplaneException"/>, and no message of another node arrives. Default: true.
    /// </summary>
    /// <remarks>
    /// When you set the property to true again, each group that missed a message reports a loss: see
    /// <see cref="IBackplaneReceiver.OnLost"/>. The server then closes the connections of this group with close code
    /// 1013, as it does after a long outage. Other groups continue. Changes of members during the outage take effect
    /// after the outage.
    /// </remarks>
    /// <exception cref="InvalidOperationException">The node is lost: see <see cref="Lose"/>.</exception>
    public bool IsReachable
    {
        get => !_isUnreachable;
        set
        {
            if (value) Reconnect();
            else _isUnreachable = true;
        }
    }

    /// <summary>
    /// The only group that the node cannot reach. Calls that publish to this group or subscribe to this group fail.
    /// Queries, reservations and calls about members succeed. The empty string is the group of all connections. Null
    /// for no group. Default: null.
    /// </summary>
    public string? UnreachableGroup
    {
        get => _unreachableGroup;
        set => _unreachableGroup = value;
    }

    /// <summary>
    /// Simulates a crash of this node. The cluster removes the members of the node. Every later publish, subscription
    /// and query fails. <see cref="BroadcastTestHost.KillAsync"/> calls this method.
    /// </summary>
    public void Lose()
    {
        _isLost = _isUnreachable = true;
        lock (_gate) _pendingChanges.Clear();
        (_backplane as IDisposable)?.Dispose();
    }

    /// <inheritdoc />
    public void Start(IBackplaneReceiver receiver)
    {
        ArgumentNullException.ThrowIfNull(receiver);
        _receiver = receiver;
        _backplane.Start(new Receiver(this, receiver));
    }

    /// <inheritdoc />
    public async ValueTask<Position> PublishAsync(
        string group,
        ReadOnlyMemory<byte> message,
        GroupOptions? history,
        RetainedKey? key = null,
        CancellationToken cancellationToken = default)
    {
        ThrowIfUnreachable(group);
        var publishing = _backplane.PublishAsync(group, message, history, key, cancellationToken);
        // Complete asynchronously, like a backplane with a server.
        await Task.Yield();
        return await publishing.ConfigureAwait(false);
    }

    /// <inheritdoc />
    public async ValueTask<(Position Position, bool IsDuplicate)> PublishOnceAsync(
        string group,
        string id,
        TimeSpan window,
        ReadOnlyMemory<byte> message,
        GroupOptions? history,
        RetainedKey? key = null,
        CancellationToken cancellationToken = default)
    {
        ThrowIfUnreachable(group);
        var publishing = _backplane.PublishOnceAsync(group, id, window, message, history, key, cancellationToken);
        await Task.Yield();
        return await publishing.ConfigureAwait(false);
    }

    /// <inheritdoc />
    public ValueTask<ReadOnlyMemory<byte>?> ReserveAsync(
        string group,
        string id,
        TimeSpan window,
        ReadOnlyMemory<byte> value,
        CancellationToken cancellationToken = default)
    {
        ThrowIfUnreachable(null);
        return _backplane.ReserveAsync(group, id, window, value, cancellationToken);
    }

    /// <inheritdoc />
    public async ValueTask PublishTransientAsync(
        string group, ReadOnlyMemory<byte> message, CancellationToken cancellationToken = default)
    {
        ThrowIfUnreachable(group);
        var publishing = _backplane.PublishTransientAsync(group, message, cancellationToken);
        await Task.Yield();
        await publishing.ConfigureAwait(false);
    }

    /// <inheritdoc />
    public async ValueTask<BackplaneSubscription> SubscribeAsync(
        string group, GroupOptions? history, CancellationToken cancellationToken = default)
    {
        ThrowIfUnreachable(group);
        return await _backplane.SubscribeAsync(group, history, cancellationToken).ConfigureAwait(false);
    }

    /// <inheritdoc />
    public void Unsubscribe(string group)
    {
        lock (_gate) _missed.Remove(group);
        if (!_isLost) _backplane.Unsubscribe(group);
    }

    /// <inheritdoc />
    public void SetMember(string group, string member, ReadOnlyMemory<byte> value)
    {
        var copy = value.ToArray();
        Change(() => _backplane.SetMember(group, member, copy));
    }

    /// <inheritdoc />
    public void RemoveMember(string group, string member) => Change(() => _backplane.RemoveMember(group, member));

    /// <inheritdoc />
    public ValueTask<IReadOnlyList<BackplaneMember>> GetMembersAsync(
        string group, CancellationToken cancellationToken = default)
    {
        ThrowIfUnreachable(null);
        return _backplane.GetMembersAsync(group, cancellationToken);
    }

    /// <inheritdoc />
    public ValueTask<long> CountMembersAsync(string group, CancellationToken cancellationToken = default)
    {
        ThrowIfUnreachable(null);
        return _backplane.CountMembersAsync(group, cancellationToken);
    }

    /// <summary>Disposes the wrapped backplane.</summary>
    public void Dispose() => (_backplane as IDisposable)?.Dispose();

    void Reconnect()
    {
        if (_isLost)
        {
            throw new InvalidOperationException(
                "The node is lost, so it cannot reach the cluster again. Start a new host.");
        }

        string[] missed;
        while (!TryEndOutage(out var changes, out missed))
        {
            // Hold no lock during these calls, because the wrapped backplane has its own locks.
            foreach (var change in changes) change();
        }

        foreach (var group in missed)
        {
            // After this call, the wrapped backplane makes no call for the group. So no other call of the receiver
            // overlaps with OnLost.
            _backplane.Unsubscribe(group);
            _receiver!.OnLost(group);
        }
    }

    /// <summary>Ends the outage. Returns false if changes of members must take effect first.</summary>
    bool TryEndOutage(out Action[] changes, out string[] missed)
    {
        lock (_gate)
        {
            (changes, missed) = ([.. _pendingChanges], [.. _missed]);
            _pendingChanges.Clear();
            if (changes.Length > 0) return false;
            _missed.Clear();
            _isUnreachable = false;
            return true;
        }
    }

    void Change(Action change)
    {
        if (_isUnreachable)
        {
            lock (_gate)
            {
                if (_isLost) return;
                if (_isUnreachable)
                {
                    _pendingChanges.Add(change);
                    return;
                }
            }
        }

        change();
    }

    bool TryMiss(string group)
    {
        if (!_isUnreachable) return false;
        lock (_gate)
        {
            if (!_isUnreachable) return false;
            _missed.Add(group);
            return true;
        }
    }

    void ThrowIfUnreachable(string? group)
    {
        if (_isUnreachable || (group is not null && group == _unreachableGroup))
            throw new BackplaneException("The test has made the backplane unreachable.");
    }

    sealed class Receiver(FaultyBackplane owner, IBackplaneReceiver receiver) : IBackplaneReceiver
    {
        public void OnMessage(string group, Position position, ReadOnlyMemory<byte> message)
        {
            if (!owner.TryMiss(group)) receiver.OnMessage(group, position, message);
        }

        public void OnTransientMessage(string group, Position after, ReadOnlyMemory<byte> message)
        {
            // A disconnected node also misses transient messages, but does not report a loss for these messages.
            if (!owner._isUnreachable) receiver.OnTransientMessage(group, after, message);
        }

        public void OnLost(string group)
        {
            if (!owner.TryMiss(group)) receiver.OnLost(group);
        }
    }
}
