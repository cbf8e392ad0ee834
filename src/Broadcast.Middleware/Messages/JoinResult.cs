namespace Broadcast.Middleware;

/// <summary>The result of a join.</summary>
/// <param name="joined">See <see cref="Joined"/>.</param>
/// <param name="recovered">See <see cref="Recovered"/>.</param>
/// <param name="position">See <see cref="Position"/>.</param>
public readonly struct JoinResult(bool joined, bool? recovered, Position? position) : IEquatable<JoinResult>
{
    /// <summary>
    /// True if the connection joined. False if the connection does not exist or is already a member, or if the registry
    /// refused the join.
    /// </summary>
    public bool Joined { get; } = joined;

    /// <summary>
    /// True if the connection receives every message after the position of <see cref="Replay.After"/>. False if
    /// messages are missing, or if the position belongs to another group or epoch. With some <see cref="SlowConsumer"/>
    /// settings, a slow connection may still skip messages later. Null for a join without <see cref="Replay.After"/>.
    /// </summary>
    public bool? Recovered { get; } = recovered;

    /// <summary>
    /// The position after which the connection receives every message. Null if the connection did not join. If the
    /// connection receives retained values, the position is directly before the oldest of these values. There is one
    /// exception: between this position and the replay, the connection receives only the retained values. See
    /// <see cref="GroupOptions.RetainLatestPerKey"/>.
    /// </summary>
    public Position? Position { get; } = position;

    /// <inheritdoc />
    public bool Equals(JoinResult other) =>
        Joined == other.Joined && Recovered == other.Recovered && Position == other.Position;

    /// <inheritdoc />
    public override bool Equals(object? obj) => obj is JoinResult other && Equals(other);

    /// <inheritdoc />
    public override int GetHashCode() => HashCode.Combine(Joined, Recovered, Position);

    /// <inheritdoc />
    public override string ToString() =>
        $"{nameof(Joined)} = {Joined}, {nameof(Recovered)} = {Recovered}, {nameof(Position)} = {Position}";

    /// <summary>True if all values are equal.</summary>
    public static bool operator ==(JoinResult left, JoinResult right) => left.Equals(right);

    /// <summary>True if any value differs.</summary>
    public static bool operator !=(JoinResult left, JoinResult right) => !left.Equals(right);
}
