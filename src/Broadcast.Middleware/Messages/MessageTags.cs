using System.Collections;
using System.Text;
using Broadcast.Middleware.Messages;

namespace Broadcast.Middleware;

/// <summary>
/// The tags of a message: a few short pairs of a key and a value, such as <c>region</c> and <c>eu</c>. A
/// <see cref="SubscriptionFilter"/> selects messages by their tags. Clients do not receive the tags.
/// </summary>
/// <remarks>
/// <para>
/// The object is immutable and thread-safe. If you publish many messages with the same tags, create the object once.
/// </para>
/// <para>
/// A message has 1 to 16 tags with different keys. A key has 1 to 32 ASCII letters, digits, or the characters
/// <c>_ - . :</c>. The words <c>and</c>, <c>or</c>, <c>not</c> and <c>in</c> cannot be keys. A value has at most 128
/// characters, and contains no control character and no unpaired surrogate. Keys and values are case-sensitive.
/// </para>
/// </remarks>
#pragma warning disable CA1710 // The name says what the collection contains, like the TagList of .NET.
public sealed class MessageTags : IReadOnlyCollection<KeyValuePair<string, string>>, IEquatable<MessageTags>
#pragma warning restore CA1710
{
    /// <summary>The maximum number of tags of a message: 16.</summary>
    public const int MaxCount = 16;

    /// <summary>The maximum number of characters of a key: 32.</summary>
    public const int MaxKeyLength = 32;

    /// <summary>The maximum number of characters of a value: 128.</summary>
    public const int MaxValueLength = 128;

    readonly TagText[] _tags;

    MessageTags(TagText[] tags) => _tags = tags;

    /// <summary>The number of tags.</summary>
    public int Count => _tags.Length;

    internal ReadOnlySpan<TagText> Span => _tags;

    /// <summary>Creates the tags of a message.</summary>
    /// <param name="tags">The tags. The remarks of this class list the limits.</param>
    /// <exception cref="ArgumentException">
    /// A key or a value is invalid, a key occurs twice, or the number of tags is not 1 to 16.
    /// </exception>
    public static MessageTags Create(params ReadOnlySpan<(string Key, string Value)> tags)
    {
        if (tags.Length is 0 or > MaxCount)
        {
            throw new ArgumentException(
                $"The message has {tags.Length} tags. Use 1 to {MaxCount} tags, or set {nameof(Message.Tags)} to null.",
                nameof(tags));
        }

        var created = new TagText[tags.Length];
        for (var i = 0; i < tags.Length; i++)
        {
            var (key, value) = tags[i];
            if ((KeyProblem(key) ?? ValueProblem(value)) is { } problem)
                throw new ArgumentException(problem, nameof(tags));
            created[i] = new TagText(key, value);
            for (var other = 0; other < i; other++)
            {
                if (created[other].Key != key) continue;
                throw new ArgumentException(
                    $"The tag '{key}' occurs twice. Use a different key for each value.",
                    nameof(tags));
            }
        }

        return new(created);
    }

    /// <summary>Creates the tags of a message from pairs, such as the pairs of a dictionary.</summary>
    /// <param name="tags">The tags. The remarks of this class list the limits.</param>
    /// <exception cref="ArgumentException">
    /// A key or a value is invalid, a key occurs twice, or the number of tags is not 1 to 16.
    /// </exception>
    public static MessageTags Create(IEnumerable<KeyValuePair<string, string>> tags)
    {
        ArgumentNullException.ThrowIfNull(tags);
        // One tag more than the maximum is enough to detect the error.
        return Create([.. tags.Take(MaxCount + 1).Select(static tag => (tag.Key, tag.Value))]);
    }

    /// <summary>Returns the value of a tag. Returns null if the message has no tag with this key.</summary>
    /// <param name="key">The key.</param>
    public string? this[string key]
    {
        get
        {
            foreach (ref readonly var tag in Span)
            {
                if (tag.Key == key) return tag.Value;
            }

            return null;
        }
    }

    /// <summary>Returns the tags in the order of their creation.</summary>
    public IEnumerator<KeyValuePair<string, string>> GetEnumerator() =>
        _tags.Select(static tag => KeyValuePair.Create(tag.Key, tag.Value)).GetEnumerator();

    IEnumerator IEnumerable.GetEnumerator() => GetEnumerator();

    /// <inheritdoc />
    public bool Equals(MessageTags? other) => other is not null && Span.SequenceEqual(other.Span);

    /// <inheritdoc />
    public override bool Equals(object? obj) => Equals(obj as MessageTags);

    /// <inheritdoc />
    public override int GetHashCode()
    {
        var hash = default(HashCode);
        foreach (ref readonly var tag in Span) hash.Add(tag.ValueHash);
        return hash.ToHashCode();
    }

    /// <summary>Returns the tags as text, for example <c>region=eu, symbol=ACME</c>.</summary>
    public override string ToString() => string.Join(", ", _tags.Select(static tag => $"{tag.Key}={tag.Value}"));

    /// <summary>Returns an error message for an invalid key. Returns null for a valid key.</summary>
    internal static string? KeyProblem(string? key)
    {
        if (string.IsNullOrEmpty(key) || key.Length > MaxKeyLength)
            return $"A tag key has {key?.Length ?? 0} characters. Use 1 to {MaxKeyLength} characters.";
        foreach (var character in key)
        {
            if (IsKeyCharacter(character)) continue;
            return $"The tag key '{Printable(key)}' has an invalid character. " +
                "Use ASCII letters, digits, and the characters _ - . and :.";
        }

        return FilterSyntax.IsReserved(key)
            ? $"The tag key '{key}' is a word of the filter syntax. Use another key."
            : null;
    }

    /// <summary>Returns an error message for an invalid value. Returns null for a valid value.</summary>
    internal static string? ValueProblem(string? value)
    {
        if (value is null) return "The value of a tag is null. Use a text, or omit the tag.";
        if (value.Length > MaxValueLength)
            return $"The value of a tag has {value.Length} characters. Use at most {MaxValueLength} characters.";
        return HasInvalidCharacter(value)
            ? "The value of a tag has a control character or an unpaired surrogate. Use printable text."
            : null;
    }

    internal static bool IsKeyCharacter(char character) =>
        char.IsAsciiLetterOrDigit(character) || character is '_' or '-' or '.' or ':';

    /// <summary>
    /// True if the text has a control character or an unpaired surrogate. UTF-8 cannot encode such a surrogate, so two
    /// different values would become equal on another node.
    /// </summary>
    internal static bool HasInvalidCharacter(ReadOnlySpan<char> text)
    {
        while (!text.IsEmpty)
        {
            if (char.IsControl(text[0]) || Rune.DecodeFromUtf16(text, out _, out var used) != 0) return true;
            text = text[used..];
        }

        return false;
    }

    static string Printable(string key) =>
        string.Concat(key.Select(static character => character is > ' ' and <= '~' ? character : '?'));
}
