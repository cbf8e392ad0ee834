using System.Threading.Channels;

namespace Broadcast.Middleware.Tests.Clustering;

/// <summary>
/// A backplane whose subscriptions and deliveries the test controls. The backplane holds its lock while it calls the
/// receiver, and detects violations of the contract.
/// </summary>
sealed class ManualBackplane : IBackplane
{
    readonly Channel<PendingSubscription> _deferred = Channel.CreateUnbounded<PendingSubscription>();
    readonly Dictionary<string, GroupState> _groups = new(StringComparer.Ordinal);
    readonly HashSet<(string Group, string Member)> _members = [];
    readonly List<PendingSubscription> _pending = [];

    /// <summary>
    /// The lock that the backplane holds during each call of the receiver. <see cref="Unsubscribe"/> also takes this
    /// lock.
    /// </summary>
    public Lock Gate { get; } = new();

    public IBackplaneReceiver Receiver { get; private set; } = null!;

    public string Inbox { get; private set; } = "";

    /// <summary>True if each subscription to a group waits until the test completes the subscription.</summary>
    public bool DefersSubscriptions { get; set; }

    public bool DefersInboxSubscription { get; set; }

    /// <summary>
    /// The exceptions that calls throw until the test removes the exceptions. A key is a method name, or a method name
    /// and a group, for example "PublishAsync g".
    /// </summary>
    public Dictionary<string, Exception> Failures { get; } = [];

    /// <summary>A callback that runs before <see cref="Unsubscribe"/> takes the lock.</summary>
    public Action? OnUnsubscribing { get; set; }

    /// <summary>A callback that runs before <see cref="SetMember"/> takes the lock.</summary>
    public Action? OnSettingMember { get; set; }

    /// <summary>The result of <see cref="ReserveAsync"/>. Null to return the value of each call.</summary>
    public byte[]? Reserved { get; set; }

    /// <summary>The number of calls of <see cref="GetMembersAsync"/>.</summary>
    public int MemberQueries;

    public int InboxSubscriptions { get; private set; }

    public string? Violation { get; private set; }

    public IReadOnlyCollection<(string Group, string Member)> Members
    {
        get
        {
            lock (Gate) return [.. _members];
        }
    }

    public string[] Subscribed
    {
        get
        {
            lock (Gate) return [.. _groups.Where(state => state.Value.IsSubscribed && state.Key != Inbox).Select(state => state.Key)];
        }
    }

    public void Start(IBackplaneReceiver receiver) => Receiver = receiver;

    public ValueTask<Position> PublishAsync(string group, ReadOnlyMemory<byte> message, GroupOptions? history, CancellationToken cancellationToken) =>
        PublishAsync(group, message, history, null, cancellationToken);

    public ValueTask<Position> PublishAsync(string group, ReadOnlyMemory<byte> message, GroupOptions? history, RetainedKey? key, CancellationToken cancellationToken)
    {
        ThrowIfFailing(nameof(PublishAsync));
        ThrowIfFailing($"{nameof(PublishAsync)} {group}");
        lock (Gate)
        {
            var state = StateOf(group);
            state.Messages.Add(message.ToArray());
            var position = state.Position;
            if (state.IsSubscribed) Receiver.OnMessage(group, position, message);
            return new(position);
        }
    }

    public async ValueTask<(Position Position, bool IsDuplicate)> PublishOnceAsync(
        string group, string id, TimeSpan window, ReadOnlyMemory<byte> message, GroupOptions? history, RetainedKey? key, CancellationToken cancellationToken) =>
        (await PublishAsync(group, message, history, key, cancellationToken), false);

    public ValueTask<ReadOnlyMemory<byte>?> ReserveAsync(
        string group, string id, TimeSpan window, ReadOnlyMemory<byte> value, CancellationToken cancellationToken)
    {
        ThrowIfFailing(nameof(ReserveAsync));
        return new(Reserved ?? value);
    }

    public ValueTask PublishTransientAsync(string group, ReadOnlyMemory<byte> message, CancellationToken cancellationToken)
    {
        ThrowIfFailing(nameof(PublishAsync));
        ThrowIfFailing($"{nameof(PublishAsync)} {group}");
        lock (Gate)
        {
            var state = StateOf(group);
            if (state.IsSubscribed) Receiver.OnTransientMessage(group, state.Position, message);
            return default;
        }
    }

    public ValueTask<BackplaneSubscription> SubscribeAsync(string group, GroupOptions? history, CancellationToken cancellationToken)
    {
        lock (Gate)
        {
            if (group.StartsWith('\u0001')) (Inbox, InboxSubscriptions) = (group, InboxSubscriptions + 1);
            ThrowIfFailing(nameof(SubscribeAsync));
            var state = StateOf(group);
            if (state.IsSubscribed) Violation ??= $"Subscribed twice: '{group}'.";
            state.IsSubscribed = true;
            var subscription = new BackplaneSubscription(state.Position, [.. state.Messages.Skip(state.Messages.Count - state.Kept).Select(message => (ReadOnlyMemory<byte>)message)]);
            if (group == Inbox ? !DefersInboxSubscription : !DefersSubscriptions) return new(subscription);
            var pending = new PendingSubscription(group, subscription);
            _pending.Add(pending);
            _deferred.Writer.TryWrite(pending);
            return new(pending.Answer.Task);
        }
    }

    public void Unsubscribe(string group)
    {
        OnUnsubscribing?.Invoke();
        lock (Gate)
        {
            ThrowIfFailing(nameof(Unsubscribe));
            if (_pending.Exists(pending => pending.Group == group && !pending.Answer.Task.IsCompleted)) Violation ??= $"Unsubscribed before the answer: '{group}'.";
            StateOf(group).IsSubscribed = false;
        }
    }

    public void SetMember(string group, string member, ReadOnlyMemory<byte> value)
    {
        OnSettingMember?.Invoke();
        lock (Gate)
        {
            ThrowIfFailing(nameof(SetMember));
            _members.Add((group, member));
        }
    }

    public void RemoveMember(string group, string member)
    {
        lock (Gate)
        {
            ThrowIfFailing(nameof(RemoveMember));
            _members.Remove((group, member));
        }
    }

    public ValueTask<IReadOnlyList<BackplaneMember>> GetMembersAsync(string group, CancellationToken cancellationToken)
    {
        Interlocked.Increment(ref MemberQueries);
        ThrowIfFailing(nameof(GetMembersAsync));
        lock (Gate) return new([.. _members.Where(member => member.Group == group).Select(member => new BackplaneMember(member.Member, default))]);
    }

    public ValueTask<long> CountMembersAsync(string group, CancellationToken cancellationToken) => throw new NotSupportedException();

    /// <summary>Returns the next subscription that the test must complete.</summary>
    public async Task<PendingSubscription> NextSubscriptionAsync() =>
        await _deferred.Reader.ReadAsync(TestContext.Current.CancellationToken).AsTask().WaitAsync(Eventually.Patience, TestContext.Current.CancellationToken);

    /// <summary>Publishes a message as another node, without delivering the message to this node.</summary>
    public Position Publish(string group, byte[] message)
    {
        lock (Gate)
        {
            StateOf(group).Messages.Add(message);
            return StateOf(group).Position;
        }
    }

    /// <summary>Sets the number of messages that the cluster keeps for new subscribers.</summary>
    public void SetHistory(string group, int messages)
    {
        lock (Gate) StateOf(group).Kept = messages;
    }

    public void Deliver(string group, Position position, ReadOnlyMemory<byte> message)
    {
        lock (Gate) Receiver.OnMessage(group, position, message);
    }

    public void DeliverTransient(string group, Position after, ReadOnlyMemory<byte> message)
    {
        lock (Gate) Receiver.OnTransientMessage(group, after, message);
    }

    public void Lose(string group)
    {
        lock (Gate)
        {
            _groups[group] = new GroupState { Epoch = StateOf(group).Epoch + 1, IsSubscribed = true };
            Receiver.OnLost(group);
            // Change the flag after the call, so that the backplane detects a receiver that subscribes during the call.
            _groups[group].IsSubscribed = false;
        }
    }

    /// <summary>Simulates a delayed report: reports the loss of an earlier subscription to the group.</summary>
    public void ReportLossLate(string group)
    {
        lock (Gate) Receiver.OnLost(group);
    }

    /// <summary>Returns the published messages of a group.</summary>
    public byte[][] MessagesOf(string group)
    {
        lock (Gate) return [.. StateOf(group).Messages];
    }

    public bool IsSubscribed(string group)
    {
        lock (Gate) return StateOf(group).IsSubscribed;
    }

    GroupState StateOf(string group)
    {
        if (!_groups.TryGetValue(group, out var state)) _groups.Add(group, state = new GroupState());
        return state;
    }

    void ThrowIfFailing(string method)
    {
        if (Failures.TryGetValue(method, out var failure)) throw failure;
    }

    sealed class GroupState
    {
        public ulong Epoch { get; init; } = 1;

        public List<byte[]> Messages { get; } = [];

        public int Kept { get; set; }

        public bool IsSubscribed { get; set; }

        public Position Position => new(Epoch, Messages.Count);
    }
}

/// <summary>A subscription that the backplane has created. The node has not received the answer yet.</summary>
sealed record PendingSubscription(string Group, BackplaneSubscription Subscription)
{
    public TaskCompletionSource<BackplaneSubscription> Answer { get; } = new(TaskCreationOptions.RunContinuationsAsynchronously);

    public void Complete() => Answer.SetResult(Subscription);
}
