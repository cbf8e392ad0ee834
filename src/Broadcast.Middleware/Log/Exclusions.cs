using System.Collections.Frozen;

namespace Broadcast.Middleware;

/// <summary>The connections a message is not for, and whether it stands in several logs.</summary>
sealed class Exclusions
{
    readonly string? _first;
    readonly FrozenSet<string>? _all;
    bool _isSettled = true;

    public Exclusions(params IReadOnlyCollection<string> connectionIds)
    {
        _first = connectionIds.FirstOrDefault();
        if (connectionIds.Count > 1) _all = connectionIds.ToFrozenSet(StringComparer.Ordinal);
    }

    Exclusions(Exclusions? other)
    {
        if (other is not null) (_first, _all, Sender, IsJson, IsVerbatim) = (other._first, other._all, other.Sender, other.IsJson, other.IsVerbatim);
        (IsShared, _isSettled) = (true, false);
    }

    public IReadOnlyCollection<string> ConnectionIds => _all is not null ? _all : _first is null ? [] : [_first];

    /// <summary>Who has sent it, in a protocol that says so; null for nobody in particular.</summary>
    public MessageSender? Sender { get; private init; }

    public bool IsJson { get; private init; }

    /// <summary>It is for one connection, and stands as that connection's protocol has it.</summary>
    public bool IsVerbatim { get; private init; }

    /// <summary>What is to be known of a message beside its bytes; null for nothing.</summary>
    public static Exclusions? Of(Message message, Exclusions? connections) =>
        message is { IsJson: false, Sender: null, IsVerbatim: false }
            ? connections
            : new(connections?._first, connections?._all) { Sender = message.Sender, IsJson = message.IsJson, IsVerbatim = message.IsVerbatim };

    Exclusions(string? first, FrozenSet<string>? all) => (_first, _all) = (first, all);

    /// <summary>The message stands in several logs with one number, and who reads more than one of them takes it once.</summary>
    public bool IsShared { get; }

    /// <summary>Whether it stands in all of them by now. Until then nobody takes it.</summary>
    public bool IsSettled => Volatile.Read(ref _isSettled);

    /// <summary>The same connections, for one message in several logs. Whoever appends it calls <see cref="Settle"/> when it stands in all.</summary>
    public static Exclusions Sharing(Exclusions? connections) => new(connections);

    /// <summary>As <see cref="Sharing"/>, where the copies come one by one: who reads several of them takes the first.</summary>
    public static Exclusions OfCopy(Exclusions? facts, SharedCopy copy) => new(facts) { Copy = copy, _isSettled = true };

    public SharedCopy? Copy { get; private init; }

    public void Settle() => Volatile.Write(ref _isSettled, true);

    public bool Contains(string connectionId) =>
        ReferenceEquals(_first, connectionId) || (_all is null ? _first == connectionId : _all.Contains(connectionId));
}
