namespace Broadcast.Middleware;

/// <summary>A change of the members of a group, or of the state of a member.</summary>
/// <param name="kind">See <see cref="Kind"/>.</param>
/// <param name="member">See <see cref="Member"/>.</param>
public sealed class PresenceChange(PresenceChangeKind kind, PresenceMember member) : IEquatable<PresenceChange>
{
    /// <summary>The type of the change: a join, a state change or a leave.</summary>
    public PresenceChangeKind Kind { get; } = kind;

    /// <summary>The member. After a leave, this object contains the last known state.</summary>
    public PresenceMember Member { get; } = member;

    /// <inheritdoc />
    public bool Equals(PresenceChange? other) => other is not null && Kind == other.Kind && Member.Equals(other.Member);

    /// <inheritdoc />
    public override bool Equals(object? obj) => Equals(obj as PresenceChange);

    /// <inheritdoc />
    public override int GetHashCode() => HashCode.Combine(Kind, Member);

    /// <inheritdoc />
    public override string ToString() => $"{Kind}: {Member}";
}
