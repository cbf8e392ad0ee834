namespace Broadcast.Middleware.Testing;

/// <summary>A join or a leave that a <see cref="RecordingBroadcaster"/> recorded.</summary>
public sealed class RecordedMembership : IEquatable<RecordedMembership>
{
    internal RecordedMembership(
        bool isJoin, string connectionId, string group, Replay replay, SubscriptionFilter? filter) =>
        (IsJoin, ConnectionId, Group, Replay, Filter) = (isJoin, connectionId, group, replay, filter);

    /// <summary>True for a join. False for a leave.</summary>
    public bool IsJoin { get; }

    /// <summary>The ID of the connection.</summary>
    public string ConnectionId { get; }

    /// <summary>The name of the group.</summary>
    public string Group { get; }

    /// <summary>The requested history. For a leave, the replay is the default value.</summary>
    public Replay Replay { get; }

    /// <summary>
    /// The filter of the join. Null if the connection receives every message. For a leave, the filter is null.
    /// </summary>
    public SubscriptionFilter? Filter { get; }

    /// <inheritdoc />
    public bool Equals(RecordedMembership? other) => other is not null
        && IsJoin == other.IsJoin && ConnectionId == other.ConnectionId && Group == other.Group
        && Replay == other.Replay && Equals(Filter, other.Filter);

    /// <inheritdoc />
    public override bool Equals(object? obj) => Equals(obj as RecordedMembership);

    /// <inheritdoc />
    public override int GetHashCode() => HashCode.Combine(IsJoin, ConnectionId, Group, Replay, Filter);

    /// <summary>Returns a text for assertion messages and debuggers.</summary>
    public override string ToString() => $"{ConnectionId} {(IsJoin ? "joins" : "leaves")} '{Group}'";
}
