using System.Text;

namespace Broadcast.Middleware.Tests.Clustering;

/// <summary>A backplane that makes one mistake and otherwise forwards all calls to a correct backplane.</summary>
sealed class MistakenBackplane(IBackplane inner, BackplaneMistake mistake) : IBackplane, IBackplaneReceiver, IDisposable
{
    const ulong SameEpoch = 42;

    readonly HashSet<string> _subscribed = [];
    readonly Dictionary<string, (Position Position, byte[] Message)> _held = [];
    readonly Dictionary<string, HashSet<string>> _members = [];
    readonly HashSet<(string, long)> _own = [];
    IBackplaneReceiver _receiver = null!;
    long _count;

    public void Start(IBackplaneReceiver receiver)
    {
        if (_receiver is not null && mistake == BackplaneMistake.StartsTwice) return;
        _receiver ??= receiver;
        inner.Start(this);
    }

    public async ValueTask<Position> PublishAsync(string group, ReadOnlyMemory<byte> message, GroupOptions? history, RetainedKey? key, CancellationToken cancellationToken)
    {
        if (mistake == BackplaneMistake.KeepsPublishBuffer) await Task.Yield();
        key = Changed(key);
        if (mistake == BackplaneMistake.ReordersPublishes && Interlocked.Increment(ref _count) % 10 == 0) await Task.Delay(20, CancellationToken.None);
        if (mistake == BackplaneMistake.IgnoresCancellation) cancellationToken = default;
        if (mistake == BackplaneMistake.PublishesCanceledTwice && cancellationToken.CanBeCanceled && message.Length < 3 && ++_count % 5 == 0)
            await inner.PublishAsync(MapName(group), message, history, key, CancellationToken.None);
        if (mistake == BackplaneMistake.DropsEmptyMessages && message.IsEmpty) return default;
        if (mistake == BackplaneMistake.TruncatesLargeMessages && message.Length > 65_536) message = message[..65_536];
        if (mistake == BackplaneMistake.SkipsPublisher) lock (_own) return Noted();
        var position = await inner.PublishAsync(MapName(group), message, Changed(history), key, cancellationToken);
        return mistake switch
        {
            BackplaneMistake.ReturnsWrongPosition when Interlocked.Increment(ref _count) % 7 == 0 => position with { Offset = position.Offset + 1 },
            _ => Reported(position),
        };

        // The inner backplane delivers the message during this call. OnMessage then drops the message.
        Position Noted()
        {
            _own.Add((group, -1));
            var noted = inner.PublishAsync(MapName(group), message, history, key, cancellationToken).AsTask().GetAwaiter().GetResult();
            _own.Remove((group, -1));
            return noted;
        }
    }

    public async ValueTask<(Position Position, bool IsDuplicate)> PublishOnceAsync(
        string group, string id, TimeSpan window, ReadOnlyMemory<byte> message, GroupOptions? history, RetainedKey? key, CancellationToken cancellationToken)
    {
        if (mistake == BackplaneMistake.ForgetsMessageIds) id += Guid.NewGuid();
        if (mistake == BackplaneMistake.SharesMessageIds) group = "/all";
        if (mistake == BackplaneMistake.KeepsMessageIdsTooLong) window = TimeSpan.FromDays(1);
        key = mistake == BackplaneMistake.RetainsNoMessageWithId ? null : Changed(key);
        var result = await inner.PublishOnceAsync(MapName(group), id, window, message, history, key, cancellationToken);
        if (mistake == BackplaneMistake.HidesDuplicates) result.IsDuplicate = false;
        return result;
    }

    public async ValueTask<ReadOnlyMemory<byte>?> ReserveAsync(
        string group, string id, TimeSpan window, ReadOnlyMemory<byte> value, CancellationToken cancellationToken)
    {
        if (mistake == BackplaneMistake.ForgetsReservations) return value.ToArray();
        if (mistake == BackplaneMistake.TrimsReservedIds) id = id.Trim();
        if (mistake == BackplaneMistake.SharesReservedIds) group = "/all";
        if (mistake == BackplaneMistake.KeepsReservationsTooLong) window = TimeSpan.FromDays(1);
        if (mistake == BackplaneMistake.IgnoresCancellation) cancellationToken = default;
        var reserved = await inner.ReserveAsync(MapName(group), id, window, value, cancellationToken);
        if (mistake == BackplaneMistake.HidesPublishedIds) return reserved ?? value;
        if (reserved is null) return null;
        if (mistake == BackplaneMistake.PublishesReservedIds) await inner.PublishOnceAsync(MapName(group), id, window, default, null, null, cancellationToken);
        return mistake == BackplaneMistake.ReturnsOwnValue ? value.ToArray() : mistake == BackplaneMistake.KeepsValueBuffer ? value : reserved;
    }

    public async ValueTask PublishTransientAsync(string group, ReadOnlyMemory<byte> message, CancellationToken cancellationToken)
    {
        if (mistake == BackplaneMistake.LosesTransientMessages && Interlocked.Increment(ref _count) % 7 == 0) return;
        if (mistake == BackplaneMistake.NumbersTransientMessages) await inner.PublishAsync(MapName(group), message, null, null, cancellationToken);
        else await inner.PublishTransientAsync(MapName(group), message, cancellationToken);
    }

    public async ValueTask<BackplaneSubscription> SubscribeAsync(string group, GroupOptions? history, CancellationToken cancellationToken)
    {
        if (mistake == BackplaneMistake.IgnoresCancellation) cancellationToken = default;
        if (mistake == BackplaneMistake.ReceivesAfterUnsubscribing)
        {
            lock (_subscribed)
            {
                if (!_subscribed.Add(group)) return new(default, []);
            }
        }

        if (mistake == BackplaneMistake.MissesFirstMessages) lock (_subscribed) _subscribed.Add(group);
        var subscription = await inner.SubscribeAsync(MapName(group), Changed(history), cancellationToken);
        if (mistake == BackplaneMistake.MissesFirstMessages)
        {
            await Task.Delay(20, CancellationToken.None);
            lock (_subscribed) _subscribed.Remove(group);
        }

        var kept = subscription.History;
        return new(Reported(subscription.Position with
        {
            Offset = subscription.Position.Offset + (mistake, subscription.Position.Offset) switch
            {
                (BackplaneMistake.StartsTooEarly, > 0) => -1,
                (BackplaneMistake.StartsTooLate, _) => 1,
                _ => 0,
            },
        }), mistake switch
        {
            BackplaneMistake.ReversesHistory => [.. kept.Reverse()],
            BackplaneMistake.LeavesGapsInHistory when kept.Count > 2 => [.. kept.Where((_, i) => i != 1)],
            BackplaneMistake.KeepsNothing => [],
            _ => kept,
        })
        {
            Retained = mistake switch
            {
                BackplaneMistake.RetainsNothing => [],
                BackplaneMistake.ReversesRetained => [.. subscription.Retained.Reverse()],
                BackplaneMistake.RenumbersRetained => [.. subscription.Retained.Select((retained, index) => new RetainedMessage(index + 1, retained.Message))],
                _ => subscription.Retained,
            },
        };
    }

    public void Unsubscribe(string group)
    {
        if (mistake == BackplaneMistake.ReceivesAfterUnsubscribing) return;
        if (mistake == BackplaneMistake.FailsToUnsubscribeTwice)
        {
            lock (_subscribed)
            {
                if (!_subscribed.Remove(group)) throw new InvalidOperationException("Not subscribed.");
            }
        }

        inner.Unsubscribe(MapName(group));
    }

    public void SetMember(string group, string member, ReadOnlyMemory<byte> value)
    {
        lock (_members)
        {
            if (!_members.TryGetValue(group, out var own)) _members[group] = own = [];
            own.Add(member);
        }

        if (mistake == BackplaneMistake.MixesMembersOfGroups) group = "/all";
        if (mistake == BackplaneMistake.ReordersMemberCalls) RunLater(() => inner.SetMember(MapName(group), member, value));
        else if (mistake == BackplaneMistake.KeepsMemberBuffer)
        {
            // Write the value after the caller has reused its buffer.
            RunLater(() => inner.SetMember(MapName(group), member, value), 10);
        }
        else inner.SetMember(MapName(group), member, value);
    }

    public void RemoveMember(string group, string member)
    {
        lock (_members)
        {
            if (_members.TryGetValue(group, out var own)) own.Remove(member);
        }

        if (mistake == BackplaneMistake.NeverRemovesMembers) return;
        if (mistake == BackplaneMistake.MixesMembersOfGroups) group = "/all";
        inner.RemoveMember(MapName(group), member);
    }

    public async ValueTask<IReadOnlyList<BackplaneMember>> GetMembersAsync(string group, CancellationToken cancellationToken)
    {
        if (mistake == BackplaneMistake.MixesMembersOfGroups) group = "/all";
        var members = await inner.GetMembersAsync(MapName(group), cancellationToken);
        if (mistake != BackplaneMistake.KnowsOwnMembersOnly) return members;
        lock (_members) return [.. members.Where(member => _members.TryGetValue(group, out var own) && own.Contains(member.Name))];
    }

    public ValueTask<long> CountMembersAsync(string group, CancellationToken cancellationToken)
    {
        if (mistake == BackplaneMistake.MixesMembersOfGroups) group = "/all";
        if (mistake != BackplaneMistake.CountsOwnMembersOnly) return inner.CountMembersAsync(MapName(group), cancellationToken);
        lock (_members) return new(_members.TryGetValue(group, out var own) ? own.Count : 0);
    }

    public void OnMessage(string group, Position position, ReadOnlyMemory<byte> message)
    {
        switch (mistake)
        {
            case BackplaneMistake.LosesMessages when Interlocked.Increment(ref _count) % 7 == 0:
            case BackplaneMistake.LosesLastMessage when Interlocked.Increment(ref _count) == 20:
            case BackplaneMistake.SkipsPublisher when Monitor.IsEntered(_own) && _own.Contains((group, -1)):
                return;
            case BackplaneMistake.MissesFirstMessages:
                lock (_subscribed)
                {
                    if (_subscribed.Contains(group)) return;
                }

                break;
            case BackplaneMistake.DeliversTwice when Interlocked.Increment(ref _count) % 7 == 0:
                _receiver.OnMessage(group, Reported(position), message);
                break;
            case BackplaneMistake.SkipsOffsets:
                _receiver.OnMessage(group, position with { Offset = position.Offset * 2 }, message);
                return;
            case BackplaneMistake.SwapsMessages:
                if (_held.Remove(group, out var held))
                {
                    _receiver.OnMessage(group, position, message);
                    _receiver.OnMessage(group, held.Position, held.Message);
                }
                else if (position.Offset % 10 == 5) _held[group] = (position, message.ToArray());
                else break;
                return;
            case BackplaneMistake.ReordersCallsOfAGroup:
                var copy = message.ToArray();
                RunLater(() => _receiver.OnMessage(group, position, copy));
                return;
        }

        _receiver.OnMessage(group, Reported(position), message);
    }

    public void OnTransientMessage(string group, Position after, ReadOnlyMemory<byte> message)
    {
        if (mistake != BackplaneMistake.ReordersTransientMessages)
        {
            _receiver.OnTransientMessage(group, Reported(after), message);
            return;
        }

        var copy = message.ToArray();
        RunLater(() => _receiver.OnTransientMessage(group, after, copy), 5);
    }

    public void OnLost(string group)
    {
        if (mistake != BackplaneMistake.HidesLosses) _receiver.OnLost(group);
    }

    public void Dispose() => ((IDisposable)inner).Dispose();

    // The node may have ended before this call. An exception from the call must not become an unobserved task
    // exception.
    static void RunLater(Action act, int milliseconds = 0) => Task.Run(async () =>
    {
        await Task.Delay(milliseconds);
        Record.Exception(act);
    });

    Position Reported(Position position) => mistake == BackplaneMistake.KeepsEpoch ? position with { Epoch = SameEpoch } : position;

    RetainedKey? Changed(RetainedKey? key) => (mistake, key) switch
    {
        (BackplaneMistake.KeepsRemovedKeys, { IsRemoved: true }) => null,
        (BackplaneMistake.IgnoresCaseOfKeys, { } known) => new(known.Name.ToUpperInvariant(), known.IsRemoved),
        _ => key,
    };

    GroupOptions? Changed(GroupOptions? history) => history is null ? null : new()
    {
        RetainLatestPerKey = history.RetainLatestPerKey,
        MaxRetainedKeys = mistake == BackplaneMistake.RetainsTooManyKeys ? int.MaxValue : history.MaxRetainedKeys,
        MaxRetainedBytes = mistake == BackplaneMistake.RetainsTooManyBytes ? int.MaxValue : history.MaxRetainedBytes,
        RetainedAge = history.RetainedAge,
        HistoryMessages = mistake == BackplaneMistake.KeepsTooManyMessages ? history.HistoryMessages + 1 : history.HistoryMessages,
        HistoryBytes = mistake == BackplaneMistake.KeepsTooManyBytes ? int.MaxValue : history.HistoryBytes,
        HistoryAge = mistake == BackplaneMistake.KeepsMessagesTooLong ? Timeout.InfiniteTimeSpan : history.HistoryAge,
    };

    string MapName(string group)
    {
        if (mistake == BackplaneMistake.FailsToUnsubscribeTwice) lock (_subscribed) _subscribed.Add(group);
        return mistake switch
        {
            BackplaneMistake.IgnoresCase => group.ToUpperInvariant(),
            BackplaneMistake.TrimsNames => group.Trim(),
            BackplaneMistake.BreaksSurrogates => Encoding.UTF8.GetString(Encoding.UTF8.GetBytes(group)),
            _ => group,
        };
    }
}
