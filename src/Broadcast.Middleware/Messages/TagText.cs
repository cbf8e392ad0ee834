namespace Broadcast.Middleware.Messages;

/// <summary>
/// A tag with the hash codes of its key and its value. A filter compares the hash codes first, and compares the texts
/// only if the hash codes are equal.
/// </summary>
readonly struct TagText : IEquatable<TagText>
{
    public TagText(string key, string value)
    {
        // The runtime interns literals. Two equal interned keys are the same object, so their comparison is fast.
        Key = string.IsInterned(key) ?? key;
        Value = value;
        KeyHash = key.GetHashCode(StringComparison.Ordinal);
        ValueHash = value.GetHashCode(StringComparison.Ordinal);
    }

    public string Key { get; }

    public string Value { get; }

    public int KeyHash { get; }

    public int ValueHash { get; }

    public bool Equals(TagText other) => KeyHash == other.KeyHash && ValueHash == other.ValueHash
        && Key == other.Key && Value == other.Value;

    public override bool Equals(object? obj) => obj is TagText other && Equals(other);

    public override int GetHashCode() => HashCode.Combine(KeyHash, ValueHash);
}
