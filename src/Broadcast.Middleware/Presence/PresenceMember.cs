namespace Broadcast.Middleware;

/// <summary>A connection in a group.</summary>
/// <param name="connectionId">See <see cref="ConnectionId"/>.</param>
/// <param name="userId">See <see cref="UserId"/>.</param>
/// <param name="state">See <see cref="State"/>.</param>
public sealed class PresenceMember(string connectionId, string? userId, ReadOnlyMemory<byte> state)
    : IEquatable<PresenceMember>
{
    /// <summary>The ID of the connection: see <see cref="IBroadcastConnection.Id"/>.</summary>
    public string ConnectionId { get; } = connectionId;

    /// <summary>
    /// The ID of the user. The ID is the same on all devices of the user. Null for an anonymous client.
    /// </summary>
    public string? UserId { get; } = userId;

    /// <summary>The state that <see cref="IPresence.SetStateAsync"/> set. Empty if the member has no state.</summary>
    public ReadOnlyMemory<byte> State { get; } = state;

    /// <inheritdoc />
    public bool Equals(PresenceMember? other) => other is not null
        && ConnectionId == other.ConnectionId && UserId == other.UserId && State.Span.SequenceEqual(other.State.Span);

    /// <inheritdoc />
    public override bool Equals(object? obj) => Equals(obj as PresenceMember);

    /// <inheritdoc />
    public override int GetHashCode() => HashCode.Combine(ConnectionId, UserId, State.Length);

    /// <inheritdoc />
    public override string ToString() =>
        $"{nameof(ConnectionId)} = {ConnectionId}, {nameof(UserId)} = {UserId}, {nameof(State)} = {State.Length} bytes";
}
