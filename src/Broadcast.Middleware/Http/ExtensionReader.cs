using System.Text;

namespace Broadcast.Middleware.Http;

/// <summary>Reads a value of the header <c>Sec-WebSocket-Extensions</c> (RFC 6455, section 9.1).</summary>
/// <remarks>
/// Call <see cref="TryReadExtension"/> for each extension, and then <see cref="TryReadParameter"/> until the result is
/// false. After a syntax error, both methods return false.
/// </remarks>
/// <param name="header">The value of one header. The value may be empty.</param>
ref struct ExtensionReader(ReadOnlySpan<char> header)
{
    ReadOnlySpan<char> _rest = header;

    /// <summary>False after a syntax error.</summary>
    public bool IsValid { get; private set; } = true;

    /// <summary>Reads the name of the next extension.</summary>
    public bool TryReadExtension(out string name)
    {
        // A list may contain empty elements (RFC 9110, section 5.6.1).
        while (TryRead(',')) { }
        name = "";
        if (_rest.IsEmpty) return false;
        name = ReadToken();
        return IsValid;
    }

    /// <summary>
    /// Reads the next parameter of the extension. If the parameter has no value, <paramref name="value"/> is null.
    /// </summary>
    public bool TryReadParameter(out string name, out string? value)
    {
        (name, value) = ("", null);
        if (!IsValid) return false;
        if (!TryRead(';'))
        {
            // The extension ends here, so a comma or the end of the header must follow.
            if (!_rest.IsEmpty && !TryRead(',')) Fail();
            return false;
        }

        name = ReadToken();
        if (IsValid && TryRead('=')) value = TryRead('"') ? ReadQuoted() : ReadToken();
        return IsValid;
    }

    string ReadToken()
    {
        SkipSpaces();
        var length = 0;
        while (length < _rest.Length && IsTokenCharacter(_rest[length])) length++;
        var token = _rest[..length].ToString();
        _rest = _rest[length..];
        if (length == 0) Fail();
        return token;
    }

    /// <summary>
    /// Reads the rest of a quoted string. Without the quotes and backslashes, the text must be a token.
    /// </summary>
    string ReadQuoted()
    {
        var text = new StringBuilder();
        while (!_rest.IsEmpty)
        {
            var character = _rest[0];
            _rest = _rest[1..];
            if (character == '"')
            {
                if (text.Length == 0) break;
                return text.ToString();
            }

            if (character == '\\' && !_rest.IsEmpty)
            {
                character = _rest[0];
                _rest = _rest[1..];
            }

            if (!IsTokenCharacter(character)) break;
            text.Append(character);
        }

        Fail();
        return "";
    }

    bool TryRead(char expected)
    {
        SkipSpaces();
        if (_rest.IsEmpty || _rest[0] != expected) return false;
        _rest = _rest[1..];
        return true;
    }

    void SkipSpaces() => _rest = _rest.TrimStart(" \t");

    void Fail()
    {
        IsValid = false;
        _rest = default;
    }

    /// <summary>True for a character of a token (RFC 9110, section 5.6.2).</summary>
    static bool IsTokenCharacter(char character) =>
        char.IsAsciiLetterOrDigit(character) || "!#$%&'*+-.^_`|~".Contains(character);
}
