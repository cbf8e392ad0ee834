using System.Collections.Frozen;

namespace Broadcast.Middleware.Messages;

/// <summary>The IDs of the connections that do not receive a message. The object is immutable.</summary>
/// <remarks>
/// Most messages with exclusions exclude only their sender. For a single ID, the object creates no set.
/// </remarks>
sealed class ExcludedConnections
{
    readonly string _first;
    readonly FrozenSet<string>? _all;

    /// <param name="connectionIds">At least one ID.</param>
    public ExcludedConnections(params IReadOnlyCollection<string> connectionIds)
    {
        _first = connectionIds.First();
        if (connectionIds.Count > 1) _all = connectionIds.ToFrozenSet(StringComparer.Ordinal);
    }

    public IReadOnlyCollection<string> Ids => _all is not null ? _all : [_first];

    /// <summary>Creates the exclusions from connection IDs. Returns null for an empty collection.</summary>
    public static ExcludedConnections? Create(IReadOnlyCollection<string> connectionIds) =>
        connectionIds.Count == 0 ? null : new(connectionIds);

    public bool Contains(string connectionId) =>
        ReferenceEquals(_first, connectionId) || (_all is null ? _first == connectionId : _all.Contains(connectionId));
}
