namespace Broadcast.Middleware;

/// <summary>A member of a group on one of the nodes.</summary>
/// <param name="name">See <see cref="Name"/>.</param>
/// <param name="value">See <see cref="Value"/>.</param>
public readonly struct BackplaneMember(string name, ReadOnlyMemory<byte> value) : IEquatable<BackplaneMember>
{
    /// <summary>The name of the member.</summary>
    public string Name { get; } = name;

    /// <summary>The value that <see cref="IBackplane.SetMember"/> set.</summary>
    public ReadOnlyMemory<byte> Value { get; } = value;

    /// <inheritdoc />
    public bool Equals(BackplaneMember other) => Name == other.Name && Value.Span.SequenceEqual(other.Value.Span);

    /// <inheritdoc />
    public override bool Equals(object? obj) => obj is BackplaneMember other && Equals(other);

    /// <inheritdoc />
    public override int GetHashCode() => HashCode.Combine(Name, Value.Length);

    /// <inheritdoc />
    public override string ToString() => $"{Name}: {Value.Length} bytes";

    /// <summary>True if the names and the values are equal.</summary>
    public static bool operator ==(BackplaneMember left, BackplaneMember right) => left.Equals(right);

    /// <summary>True if the names or the values differ.</summary>
    public static bool operator !=(BackplaneMember left, BackplaneMember right) => !left.Equals(right);
}
