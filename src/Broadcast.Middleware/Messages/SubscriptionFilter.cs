using System.Diagnostics.CodeAnalysis;
using Broadcast.Middleware.Messages;

namespace Broadcast.Middleware;

/// <summary>
/// Selects the messages of a group that a member receives, by the <see cref="Message.Tags"/> of each message. The
/// server compiles a filter once. The object is immutable, and any number of members may share it.
/// </summary>
/// <remarks>
/// <para>
/// Example of a text: <c>region = eu and symbol in (ACME, 'B C') and not (kind = test or kind = demo)</c>. <c>key</c>
/// alone accepts each message that has the tag. <c>not</c> has the highest precedence, then <c>and</c>, then <c>or</c>.
/// A value with other characters than letters, digits and <c>_ - . : / @</c> needs quotes. The words <c>and</c>,
/// <c>or</c>, <c>not</c> and <c>in</c> are not case-sensitive.
/// </para>
/// <para>
/// A comparison with a tag that the message does not have is false. So <c>region = eu</c> rejects a message without
/// tags, and <c>region != eu</c> accepts such a message.
/// </para>
/// <para>A rejected message still has a position in its group, so history and recovery also work with a filter.</para>
/// </remarks>
public sealed class SubscriptionFilter : IEquatable<SubscriptionFilter>
{
    /// <summary>The maximum number of characters of a filter text: 1,024.</summary>
    public const int MaxTextLength = 1024;

    /// <summary>
    /// The maximum number of nested parentheses and <c>not</c> operators in a filter text: 8.
    /// </summary>
    public const int MaxTextDepth = 8;

    /// <summary>
    /// The maximum number of compared values in a filter text: 64. A key without a value counts as one value.
    /// </summary>
    public const int MaxTextValues = 64;

    // The limits of a filter that the code of the app combines.
    internal const int MaxDepth = 32;
    const int MaxTerms = 1000;

    readonly FilterNode _node;
    readonly FilterTerm[] _terms;
    readonly int _first;
    readonly string _text;

    SubscriptionFilter(FilterNode node)
    {
        _node = node;
        _text = node.ToString();
        var terms = new List<FilterTerm>();
        _first = node.Compile(terms, FilterTerm.Accept, FilterTerm.Reject);
        _terms = [.. terms];
    }

    /// <summary>
    /// True if the filter contains a delegate. A delegate needs the whole message, not only the tags.
    /// </summary>
    internal bool HasDelegate => _node.HasDelegate;

    /// <summary>Parses the text of a filter. The remarks of this class describe the syntax.</summary>
    /// <param name="text">
    /// The text: at most 1,024 characters, 64 compared values, and 8 nested parentheses and <c>not</c> operators.
    /// </param>
    /// <exception cref="FormatException">
    /// The text is invalid. For a syntax error, the message of the exception names the position.
    /// </exception>
    public static SubscriptionFilter Parse(string text)
    {
        ArgumentNullException.ThrowIfNull(text);
        return Parse(text, FilterLimits.ForText, out var problem) ?? throw new FormatException(problem);
    }

    /// <summary>Parses the text of a filter, for example from a client. The method throws no exception.</summary>
    /// <param name="text">The text: see <see cref="Parse(string)"/>.</param>
    /// <param name="filter">The filter. Null if the text is invalid.</param>
    /// <param name="problem">
    /// The problem and the fix, with the position of a syntax error. This text has at most 123 ASCII characters, so
    /// that it fits into a close reason. Null if the filter text is valid.
    /// </param>
    /// <returns>True if the text is valid.</returns>
    public static bool TryParse(
        string? text, [NotNullWhen(true)] out SubscriptionFilter? filter, [NotNullWhen(false)] out string? problem)
    {
        filter = Parse(text, FilterLimits.ForText, out problem);
        return filter is not null;
    }

    /// <summary>Returns a filter that accepts messages whose tag has this value.</summary>
    /// <param name="key">The key of the tag: see <see cref="MessageTags"/>.</param>
    /// <param name="value">The value.</param>
    /// <exception cref="ArgumentException">The key or the value is invalid.</exception>
    public static SubscriptionFilter TagEquals(string key, string value) => TagIn(key, value);

    /// <summary>Returns a filter that accepts messages whose tag has one of these values.</summary>
    /// <param name="key">The key of the tag: see <see cref="MessageTags"/>.</param>
    /// <param name="values">At least one value. The number of values is not limited.</param>
    /// <exception cref="ArgumentException">The key or a value is invalid, or the list of values is empty.</exception>
    public static SubscriptionFilter TagIn(string key, params IEnumerable<string> values)
    {
        ArgumentNullException.ThrowIfNull(values);
        ThrowIfInvalidKey(key);
        var set = new SortedSet<string>(StringComparer.Ordinal);
        foreach (var value in values)
        {
            if (MessageTags.ValueProblem(value) is { } problem) throw new ArgumentException(problem, nameof(values));
            set.Add(value);
        }

        if (set.Count == 0)
        {
            throw new ArgumentException(
                $"The filter for the tag '{key}' has no value, so it would reject every message. Add a value.",
                nameof(values));
        }

        return new(FilterNode.Tag(key, [.. set]));
    }

    /// <summary>Returns a filter that accepts messages that have this tag, with any value.</summary>
    /// <param name="key">The key of the tag: see <see cref="MessageTags"/>.</param>
    /// <exception cref="ArgumentException">The key is invalid.</exception>
    public static SubscriptionFilter TagExists(string key)
    {
        ThrowIfInvalidKey(key);
        return new(FilterNode.Tag(key, null));
    }

    /// <summary>Returns a filter that calls a delegate of the app for each message.</summary>
    /// <remarks>
    /// The server calls the delegate on the thread that sends to many clients. So the delegate must be fast, must not
    /// wait, and must return the same result each time for the same message. Do not use the payload after the call. If
    /// the delegate throws an exception, the server logs the exception and closes only the connection of this member,
    /// with close code 1011. The server cannot send a delegate to another node, so a join of a connection on another
    /// node throws an exception.
    /// </remarks>
    /// <param name="accepts">
    /// Returns true if the member must receive the message. The delegate may read only the payload, the type, the key,
    /// the tags and <see cref="Message.IsJson"/> of the message.
    /// </param>
    public static SubscriptionFilter FromDelegate(Func<Message, bool> accepts)
    {
        ArgumentNullException.ThrowIfNull(accepts);
        return new(FilterNode.Delegate(accepts));
    }

    /// <summary>Returns a filter that accepts messages that every given filter accepts.</summary>
    /// <param name="filters">At least one filter.</param>
    /// <exception cref="ArgumentException">The list is empty or contains null, or the result is too large.</exception>
    public static SubscriptionFilter All(params IEnumerable<SubscriptionFilter> filters) =>
        Combine(filters, FilterNode.All);

    /// <summary>Returns a filter that accepts messages that at least one given filter accepts.</summary>
    /// <param name="filters">At least one filter.</param>
    /// <exception cref="ArgumentException">The list is empty or contains null, or the result is too large.</exception>
    public static SubscriptionFilter Any(params IEnumerable<SubscriptionFilter> filters) =>
        Combine(filters, FilterNode.Any);

    /// <summary>Returns a filter that accepts messages that the given filter rejects.</summary>
    /// <param name="filter">The filter.</param>
    /// <exception cref="ArgumentException">The result is too large.</exception>
    public static SubscriptionFilter Not(SubscriptionFilter filter)
    {
        ArgumentNullException.ThrowIfNull(filter);
        return Create(FilterNode.Not(filter._node));
    }

    /// <summary>Returns true if the filter accepts a message. Use this method for unit tests.</summary>
    /// <param name="message">The message.</param>
    public bool Accepts(Message message) => Evaluate(message.Tags, message);

    /// <inheritdoc />
    public bool Equals(SubscriptionFilter? other) =>
        ReferenceEquals(this, other)
        || (other is not null && !HasDelegate && !other.HasDelegate && _text == other._text);

    /// <inheritdoc />
    public override bool Equals(object? obj) => Equals(obj as SubscriptionFilter);

    /// <inheritdoc />
    public override int GetHashCode() => _text.GetHashCode(StringComparison.Ordinal);

    /// <summary>
    /// Returns the text of the filter. A delegate becomes <c>&lt;delegate&gt;</c>, and such a text cannot be parsed.
    /// </summary>
    public override string ToString() => _text;

    /// <summary>
    /// Parses a filter. For equal texts, the method returns the same object while a member uses the object.
    /// </summary>
    internal static SubscriptionFilter? Parse(string? text, FilterLimits limits, out string? problem) =>
        FilterSyntax.Parse(text, limits, out problem) is { } node ? SharedFilters.Share(new(node)) : null;

    /// <summary>
    /// Returns a filter that accepts the messages that both filters accept. Null accepts every message. The combination
    /// of two valid filters may exceed the limits, so this method does not check the limits.
    /// </summary>
    internal static SubscriptionFilter? Both(SubscriptionFilter? first, SubscriptionFilter? second)
    {
        if (first is null || second is null) return (first ?? second) is { } only ? SharedFilters.Share(only) : null;
        return SharedFilters.Share(new(FilterNode.All([first._node, second._node])));
    }

    /// <summary>
    /// Returns true if this filter accepts a message with these tags. The filter must not contain a delegate.
    /// </summary>
    internal bool Accepts(MessageTags? tags) => Evaluate(tags, default);

    /// <summary>Returns true if this filter accepts a message with these tags.</summary>
    /// <param name="tags">The tags of the message.</param>
    /// <param name="message">The message. Only a delegate uses the message.</param>
    internal bool Evaluate(MessageTags? tags, in Message message)
    {
        var terms = _terms;
        var next = _first;
        do
        {
            ref readonly var term = ref terms[next];
            next = term.Matches(tags, message) ? term.OnTrue : term.OnFalse;
        }
        while (next >= 0);

        return next == FilterTerm.Accept;
    }

    static SubscriptionFilter Combine(
        IEnumerable<SubscriptionFilter> filters, Func<IReadOnlyList<FilterNode>, FilterNode> combine)
    {
        ArgumentNullException.ThrowIfNull(filters);
        FilterNode[] nodes = [.. filters.Select(static filter => filter?._node
            ?? throw new ArgumentException("A filter is null. Remove the filter.", nameof(filters)))];
        if (nodes.Length == 0)
            throw new ArgumentException("The list of filters is empty. Add a filter.", nameof(filters));
        return Create(combine(nodes));
    }

    static SubscriptionFilter Create(FilterNode node)
    {
        if (node.Depth > MaxDepth || node.Terms > MaxTerms)
        {
            throw new ArgumentException(
                $"The filter has {node.Terms} comparisons and {node.Depth} levels. Use at most {MaxTerms} " +
                $"comparisons and {MaxDepth} levels, for example with {nameof(TagIn)}.");
        }

        return new(node);
    }

    static void ThrowIfInvalidKey(string key)
    {
        if (MessageTags.KeyProblem(key) is { } problem) throw new ArgumentException(problem, nameof(key));
    }
}
