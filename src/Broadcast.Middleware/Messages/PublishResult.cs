namespace Broadcast.Middleware;

/// <summary>The result of a publish.</summary>
/// <param name="position">See <see cref="Position"/>.</param>
/// <param name="localRecipients">See <see cref="LocalRecipients"/>.</param>
public readonly struct PublishResult(Position? position, int localRecipients) : IEquatable<PublishResult>
{
    /// <summary>
    /// The position of the message in its group. Null for a transient message, and for a message to
    /// <see cref="Recipients.Groups"/>, a user or a connection. Without a cluster, the position is also null if the
    /// group had no members and did not store the message. If <see cref="IsLocalOnly"/> is true, the position is null.
    /// </summary>
    public Position? Position { get; } = position;

    /// <summary>
    /// The number of other nodes to which the server sent the message. For a message to a user or a connection, the
    /// value 0 means that the directory of the cluster lists no recipient on another node. For a repeated message with
    /// an ID to a user, the value counts the nodes of the first publish, even if a node has ended. Null for a message
    /// to groups or to all connections, because such a message goes to every node with members. Without a cluster, the
    /// value is null. If <see cref="IsLocalOnly"/> is true, the value is 0 for every message.
    /// </summary>
    public int? RemoteNodes { get; init; }

    /// <summary>
    /// True if the other nodes did not receive the message, because the nodes were unreachable. The value can be true
    /// only with a setting of the backplane, for example <c>WhenUnreachable.Local</c> of the Redis backplane.
    /// </summary>
    public bool IsLocalOnly { get; init; }

    /// <summary>
    /// True if this publish had no effect, because an earlier publish has the same <see cref="Message.Id"/> and the
    /// same recipients. <see cref="Position"/> is then the position of the earlier message, or null if the server does
    /// not know this position. <see cref="LocalRecipients"/> is 0.
    /// </summary>
    public bool IsDuplicate { get; init; }

    /// <summary>
    /// The number of recipients on this node. For a message to several groups, the value is the number of memberships
    /// in these groups. A slow recipient may miss the message: see <see cref="SlowConsumer"/>. A member whose
    /// <see cref="SubscriptionFilter"/> rejects the message also counts.
    /// </summary>
    public int LocalRecipients { get; } = localRecipients;

    /// <inheritdoc />
    public bool Equals(PublishResult other) =>
        Position == other.Position && LocalRecipients == other.LocalRecipients && RemoteNodes == other.RemoteNodes
        && IsLocalOnly == other.IsLocalOnly && IsDuplicate == other.IsDuplicate;

    /// <inheritdoc />
    public override bool Equals(object? obj) => obj is PublishResult other && Equals(other);

    /// <inheritdoc />
    public override int GetHashCode() =>
        HashCode.Combine(Position, LocalRecipients, RemoteNodes, IsLocalOnly, IsDuplicate);

    /// <inheritdoc />
    public override string ToString() =>
        $"{nameof(Position)} = {Position}, {nameof(LocalRecipients)} = {LocalRecipients}, " +
        $"{nameof(RemoteNodes)} = {RemoteNodes}, {nameof(IsLocalOnly)} = {IsLocalOnly}, " +
        $"{nameof(IsDuplicate)} = {IsDuplicate}";

    /// <summary>True if all values are equal.</summary>
    public static bool operator ==(PublishResult left, PublishResult right) => left.Equals(right);

    /// <summary>True if any value differs.</summary>
    public static bool operator !=(PublishResult left, PublishResult right) => !left.Equals(right);
}
