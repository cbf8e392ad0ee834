namespace Broadcast.Middleware;

/// <summary>
/// The key of a message for a group that retains the newest message of each key: see
/// <see cref="GroupOptions.RetainLatestPerKey"/>.
/// </summary>
/// <param name="name">See <see cref="Name"/>.</param>
/// <param name="isRemoved">See <see cref="IsRemoved"/>.</param>
public readonly struct RetainedKey(string name, bool isRemoved) : IEquatable<RetainedKey>
{
    /// <summary>The key: 1 to 256 characters without unpaired surrogates. The key is case-sensitive.</summary>
    public string Name { get; } = name;

    /// <summary>
    /// False if the message becomes the retained value of the key. True if the message removes the retained value of
    /// the key: see <see cref="Message.RemoveKey"/>.
    /// </summary>
    public bool IsRemoved { get; } = isRemoved;

    /// <inheritdoc />
    public bool Equals(RetainedKey other) => Name == other.Name && IsRemoved == other.IsRemoved;

    /// <inheritdoc />
    public override bool Equals(object? obj) => obj is RetainedKey other && Equals(other);

    /// <inheritdoc />
    public override int GetHashCode() => HashCode.Combine(Name, IsRemoved);

    /// <inheritdoc />
    public override string ToString() => IsRemoved ? $"remove {Name}" : Name;

    /// <summary>True if all properties are equal.</summary>
    public static bool operator ==(RetainedKey left, RetainedKey right) => left.Equals(right);

    /// <summary>True if any property differs.</summary>
    public static bool operator !=(RetainedKey left, RetainedKey right) => !left.Equals(right);
}
