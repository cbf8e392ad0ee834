using System.Collections.Frozen;

namespace Broadcast.Middleware.Messages;

/// <summary>
/// One comparison of a compiled filter. The result selects the next comparison, or ends the evaluation.
/// </summary>
struct FilterTerm
{
    /// <summary>A value of <see cref="OnTrue"/> and <see cref="OnFalse"/>: the filter accepts the message.</summary>
    public const int Accept = -1;

    /// <summary>A value of <see cref="OnTrue"/> and <see cref="OnFalse"/>: the filter rejects the message.</summary>
    public const int Reject = -2;

    // A term with more values uses a hash table instead of an array.
    const int MaxListedValues = 8;

    readonly string? _key;
    readonly int _keyHash;
    readonly TagText[]? _values; // Null if the term compares only the key, uses _set, or calls a delegate.
    readonly FrozenSet<string>? _set;
    readonly Func<Message, bool>? _delegate;

    public FilterTerm(string key, IReadOnlyList<string>? values)
    {
        _key = string.IsInterned(key) ?? key;
        _keyHash = key.GetHashCode(StringComparison.Ordinal);
        if (values is null) return;
        if (values.Count > MaxListedValues) _set = values.ToFrozenSet(StringComparer.Ordinal);
        else _values = [.. values.Select(value => new TagText(key, value))];
    }

    public FilterTerm(Func<Message, bool> accepts) => _delegate = accepts;

    /// <summary>
    /// The next step if the comparison is true: the index of the next term, or <see cref="Accept"/>, or
    /// <see cref="Reject"/>.
    /// </summary>
    public int OnTrue { get; init; }

    /// <summary>
    /// The next step if the comparison is false: the index of the next term, or <see cref="Accept"/>, or
    /// <see cref="Reject"/>.
    /// </summary>
    public int OnFalse { get; init; }

    /// <summary>Returns true if the message satisfies the comparison.</summary>
    /// <param name="tags">The tags of the message. Null if the message has no tags.</param>
    /// <param name="message">The message. Only a delegate uses the message.</param>
    public readonly bool Matches(MessageTags? tags, in Message message)
    {
        if (_delegate is not null) return _delegate(message);
        if (tags is null) return false;
        foreach (ref readonly var tag in tags.Span)
        {
            if (tag.KeyHash == _keyHash && tag.Key == _key) return MatchesValue(tag);
        }

        return false;
    }

    readonly bool MatchesValue(in TagText tag)
    {
        if (_values is null) return _set is null || _set.Contains(tag.Value);
        foreach (ref readonly var value in _values.AsSpan())
        {
            if (value.ValueHash == tag.ValueHash && value.Value == tag.Value) return true;
        }

        return false;
    }
}
