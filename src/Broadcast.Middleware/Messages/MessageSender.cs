namespace Broadcast.Middleware;

/// <summary>The client that sent a message.</summary>
/// <param name="connectionId">See <see cref="IBroadcastConnection.Id"/>.</param>
/// <param name="userId">See <see cref="IBroadcastConnection.UserId"/>.</param>
public sealed class MessageSender(string connectionId, string? userId) : IEquatable<MessageSender>
{
    /// <summary>The ID of the connection: see <see cref="IBroadcastConnection.Id"/>.</summary>
    public string ConnectionId { get; } = connectionId;

    /// <summary>
    /// The ID of the user: see <see cref="IBroadcastConnection.UserId"/>. Null for an anonymous client.
    /// </summary>
    public string? UserId { get; } = userId;

    /// <inheritdoc />
    public bool Equals(MessageSender? other) => other?.ConnectionId == ConnectionId && other.UserId == UserId;

    /// <inheritdoc />
    public override bool Equals(object? obj) => Equals(obj as MessageSender);

    /// <inheritdoc />
    public override int GetHashCode() => HashCode.Combine(ConnectionId, UserId);

    /// <inheritdoc />
    public override string ToString() => $"{nameof(ConnectionId)} = {ConnectionId}, {nameof(UserId)} = {UserId}";
}
