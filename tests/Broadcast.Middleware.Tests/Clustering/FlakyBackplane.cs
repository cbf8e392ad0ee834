namespace Broadcast.Middleware.Tests.Clustering;

/// <summary>A backplane whose operations fail for one group that the test selects.</summary>
sealed class FlakyBackplane(IBackplane backplane) : IBackplane
{
    volatile string? _unreachableGroup;

    /// <summary>The group whose messages and subscriptions fail, or null.</summary>
    public string? UnreachableGroup
    {
        get => _unreachableGroup;
        set => _unreachableGroup = value;
    }

    public bool IsReachable { get; set; } = true;

    public void Start(IBackplaneReceiver receiver) => backplane.Start(receiver);

    public async ValueTask<Position> PublishAsync(string group, ReadOnlyMemory<byte> message, GroupOptions? history, RetainedKey? key, CancellationToken cancellationToken)
    {
        ThrowIfUnreachable(group);
        var publishing = backplane.PublishAsync(group, message, history, key, cancellationToken);
        // Complete asynchronously, like a backplane with a server.
        await Task.Yield();
        return await publishing;
    }

    public async ValueTask<(Position Position, bool IsDuplicate)> PublishOnceAsync(
        string group, string id, TimeSpan window, ReadOnlyMemory<byte> message, GroupOptions? history, RetainedKey? key, CancellationToken cancellationToken)
    {
        ThrowIfUnreachable(group);
        var publishing = backplane.PublishOnceAsync(group, id, window, message, history, key, cancellationToken);
        await Task.Yield();
        return await publishing;
    }

    public async ValueTask PublishTransientAsync(string group, ReadOnlyMemory<byte> message, CancellationToken cancellationToken)
    {
        ThrowIfUnreachable(group);
        var publishing = backplane.PublishTransientAsync(group, message, cancellationToken);
        await Task.Yield();
        await publishing;
    }

    public async ValueTask<BackplaneSubscription> SubscribeAsync(string group, GroupOptions? history, CancellationToken cancellationToken)
    {
        ThrowIfUnreachable(group);
        return await backplane.SubscribeAsync(group, history, cancellationToken);
    }

    public void Unsubscribe(string group) => backplane.Unsubscribe(group);

    public void SetMember(string group, string member, ReadOnlyMemory<byte> value) => backplane.SetMember(group, member, value);

    public void RemoveMember(string group, string member) => backplane.RemoveMember(group, member);

    public ValueTask<IReadOnlyList<BackplaneMember>> GetMembersAsync(string group, CancellationToken cancellationToken) => backplane.GetMembersAsync(group, cancellationToken);

    public ValueTask<long> CountMembersAsync(string group, CancellationToken cancellationToken) => backplane.CountMembersAsync(group, cancellationToken);

    void ThrowIfUnreachable(string group)
    {
        if (group == _unreachableGroup) throw new BackplaneException("Unreachable.");
    }
}
