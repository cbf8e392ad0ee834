namespace Broadcast.Middleware;

/// <summary>The result of a publish.</summary>
/// <param name="position">See <see cref="Position"/>.</param>
/// <param name="localRecipients">See <see cref="LocalRecipients"/>.</param>
public readonly struct PublishResult(Position? position, int localRecipients) : IEquatable<PublishResult>
{
    /// <summary>
    /// The position of the message in its group. Null if the message is not for exactly one group, or if an empty group
    /// without history dropped the message.
    /// </summary>
    public Position? Position { get; } = position;

    /// <summary>
    /// The number of recipients on this node. For a message to several groups, the value is the number of memberships
    /// in these groups. A slow recipient may miss the message: see <see cref="SlowConsumer"/>.
    /// </summary>
    public int LocalRecipients { get; } = localRecipients;

    /// <inheritdoc />
    public bool Equals(PublishResult other) => Position == other.Position && LocalRecipients == other.LocalRecipients;

    /// <inheritdoc />
    public override bool Equals(object? obj) => obj is PublishResult other && Equals(other);

    /// <inheritdoc />
    public override int GetHashCode() => HashCode.Combine(Position, LocalRecipients);

    /// <inheritdoc />
    public override string ToString() =>
        $"{nameof(Position)} = {Position}, {nameof(LocalRecipients)} = {LocalRecipients}";

    /// <summary>True if both values are equal.</summary>
    public static bool operator ==(PublishResult left, PublishResult right) => left.Equals(right);

    /// <summary>True if any value differs.</summary>
    public static bool operator !=(PublishResult left, PublishResult right) => !left.Equals(right);
}
