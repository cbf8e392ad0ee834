using System.Text;

namespace Broadcast.Middleware.Messages;

/// <summary>
/// Parses the text of a filter, for example <c>region = eu and symbol in (ACME, 'B C')</c>. The text may come from an
/// untrusted client. A message about a syntax error names the position of the error. The first character of the text
/// has position 1.
/// </summary>
/// <remarks>
/// An error message may become the reason of a close frame. So each error message has at most 123 ASCII characters and
/// repeats no text of the client.
/// </remarks>
ref struct FilterSyntax
{
    readonly ReadOnlySpan<char> _text;
    readonly FilterLimits _limits;
    int _at;
    int _values;
    string? _problem;

    FilterSyntax(ReadOnlySpan<char> text, FilterLimits limits)
    {
        _text = text;
        _limits = limits;
    }

    /// <summary>Parses a filter. Returns null if the text is invalid.</summary>
    public static FilterNode? Parse(ReadOnlySpan<char> text, FilterLimits limits, out string? problem)
    {
        problem = null;
        if (text.Length > limits.Length)
        {
            problem = $"The filter has {text.Length} characters. Use at most {limits.Length} characters.";
            return null;
        }

        var syntax = new FilterSyntax(text, limits);
        var node = syntax.ReadOr(1);
        if (node is not null)
        {
            syntax.SkipSpaces();
            if (syntax._at < text.Length)
                node = syntax.Fail("Expected 'and', 'or' or the end of the filter.");
        }

        problem = syntax._problem;
        return node;
    }

    /// <summary>Returns true if the word is an operator of the filter syntax.</summary>
    public static bool IsReserved(ReadOnlySpan<char> word) =>
        IsWord(word, "and") || IsWord(word, "or") || IsWord(word, "not") || IsWord(word, "in");

    /// <summary>Writes a value. Adds quotes if the value needs quotes.</summary>
    public static void WriteValue(StringBuilder text, string value)
    {
        if (value.Length > 0 && value.All(IsValueCharacter)) text.Append(value);
        else text.Append('\'').Append(value.Replace("'", "''", StringComparison.Ordinal)).Append('\'');
    }

    FilterNode? ReadOr(int depth)
    {
        var parts = new List<FilterNode>();
        do
        {
            if (ReadAnd(depth) is not { } part) return null;
            parts.Add(part);
        }
        while (TryReadWord("or"));

        return FilterNode.Any(parts);
    }

    FilterNode? ReadAnd(int depth)
    {
        var parts = new List<FilterNode>();
        do
        {
            if (ReadUnary(depth) is not { } part) return null;
            parts.Add(part);
        }
        while (TryReadWord("and"));

        return FilterNode.All(parts);
    }

    FilterNode? ReadUnary(int depth)
    {
        SkipSpaces();
        var start = _at;
        var isNot = TryReadWord("not");
        if (!isNot && !TryRead('(')) return ReadComparison();
        if (depth > _limits.Depth)
            return FailAt(start, $"More than {_limits.Depth} nested levels. Simplify the filter.");
        if (isNot) return ReadUnary(depth + 1) is { } negated ? FilterNode.Not(negated) : null;
        if (ReadOr(depth + 1) is not { } inner) return null;
        return TryRead(')') ? inner : Fail("Expected 'and', 'or' or ')'.");
    }

    FilterNode? ReadComparison()
    {
        SkipSpaces();
        var start = _at;
        while (_at < _text.Length && MessageTags.IsKeyCharacter(_text[_at])) _at++;
        var word = _text[start.._at];
        if (word.IsEmpty || IsReserved(word)) return FailAt(start, "Expected a tag key, 'not' or '('.");
        if (word.Length > MessageTags.MaxKeyLength)
            return FailAt(start, $"The tag key has more than {MessageTags.MaxKeyLength} characters.");
        var key = word.ToString();
        if (TryRead('=')) return ReadValue() is { } value ? FilterNode.Tag(key, [value]) : null;
        if (TryRead('!'))
        {
            if (_at == _text.Length || _text[_at] != '=') return Fail("Expected '=' after '!'.");
            _at++;
            return ReadValue() is { } value ? FilterNode.Not(FilterNode.Tag(key, [value])) : null;
        }

        if (TryReadWord("in")) return ReadSet(key);
        if (!TryReadWord("not")) return TryCountValue(start) ? FilterNode.Tag(key, null) : null;
        if (!TryReadWord("in")) return Fail("Expected 'in' after 'not'.");
        return ReadSet(key) is { } set ? FilterNode.Not(set) : null;
    }

    FilterNode? ReadSet(string key)
    {
        if (!TryRead('(')) return Fail("Expected '(' after 'in'.");
        var values = new SortedSet<string>(StringComparer.Ordinal);
        do
        {
            if (ReadValue() is not { } value) return null;
            values.Add(value);
        }
        while (TryRead(','));

        return TryRead(')') ? FilterNode.Tag(key, [.. values]) : Fail("Expected ',' or ')'.");
    }

    string? ReadValue()
    {
        SkipSpaces();
        var start = _at;
        if (!TryCountValue(start)) return null;
        var value = _at < _text.Length && _text[_at] is '\'' or '"' ? ReadQuoted() : ReadBareValue();
        if (value is null) return null;
        if (value.Length > MessageTags.MaxValueLength)
            return FailValue(start, $"The value has more than {MessageTags.MaxValueLength} characters.");
        return MessageTags.HasInvalidCharacter(value)
            ? FailValue(start, "The value has a control character or an unpaired surrogate.")
            : value;
    }

    string? ReadBareValue()
    {
        var start = _at;
        while (_at < _text.Length && IsValueCharacter(_text[_at])) _at++;
        return start < _at
            ? _text[start.._at].ToString()
            : FailValue(start, "Expected a value. Put other text in quotes.");
    }

    string? ReadQuoted()
    {
        var start = _at;
        var quote = _text[_at++];
        var value = new StringBuilder();
        while (_at < _text.Length)
        {
            var character = _text[_at++];
            if (character != quote)
            {
                value.Append(character);
                continue;
            }

            // Inside a quoted value, two consecutive quotes stand for one quote.
            if (_at == _text.Length || _text[_at] != quote) return value.ToString();
            value.Append(quote);
            _at++;
        }

        return FailValue(start, "The text has no closing quote.");
    }

    bool TryCountValue(int start)
    {
        if (++_values <= _limits.Values) return true;
        FailAt(start, $"More than {_limits.Values} values. Simplify the filter.");
        return false;
    }

    bool TryReadWord(string word)
    {
        SkipSpaces();
        var end = _at + word.Length;
        if (end > _text.Length || !IsWord(_text[_at..end], word)) return false;
        // "notes" is a key, not the word "not".
        if (end < _text.Length && MessageTags.IsKeyCharacter(_text[end])) return false;
        _at = end;
        return true;
    }

    bool TryRead(char character)
    {
        SkipSpaces();
        if (_at == _text.Length || _text[_at] != character) return false;
        _at++;
        return true;
    }

    void SkipSpaces()
    {
        while (_at < _text.Length && _text[_at] is ' ' or '\t' or '\r' or '\n') _at++;
    }

    FilterNode? Fail(string problem)
    {
        SkipSpaces();
        return FailAt(_at, problem);
    }

    string? FailValue(int start, string problem)
    {
        FailAt(start, problem);
        return null;
    }

    FilterNode? FailAt(int start, string problem)
    {
        _problem ??= $"Error in the filter at position {start + 1}: {problem}";
        return null;
    }

    static bool IsValueCharacter(char character) =>
        char.IsLetterOrDigit(character) || character is '_' or '-' or '.' or ':' or '/' or '@';

    static bool IsWord(ReadOnlySpan<char> text, string word) => text.Equals(word, StringComparison.OrdinalIgnoreCase);
}
