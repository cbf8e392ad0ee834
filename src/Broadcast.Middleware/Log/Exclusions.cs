using System.Collections.Frozen;

namespace Broadcast.Middleware;

/// <summary>The connections a message is not for; at least one.</summary>
sealed class Exclusions
{
    readonly string _first;
    readonly FrozenSet<string>? _all;

    public Exclusions(params IReadOnlyCollection<string> connectionIds)
    {
        _first = connectionIds.First();
        if (connectionIds.Count > 1) _all = connectionIds.ToFrozenSet(StringComparer.Ordinal);
    }

    public IReadOnlyCollection<string> ConnectionIds => _all is null ? [_first] : _all;

    public bool Contains(string connectionId) =>
        ReferenceEquals(_first, connectionId) || (_all is null ? _first == connectionId : _all.Contains(connectionId));
}
