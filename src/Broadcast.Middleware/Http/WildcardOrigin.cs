namespace Broadcast.Middleware.Http;

/// <summary>An entry of the allowed origins with a wildcard, such as <c>https://*.example.com</c>.</summary>
/// <param name="Prefix">The part before the subdomain: <c>https://</c>.</param>
/// <param name="Suffix">The part after the subdomain: <c>.example.com</c>.</param>
sealed record WildcardOrigin(string Prefix, string Suffix)
{
    const string Wildcard = "://*.";

    /// <summary>Parses an allowed origin. Returns null if the text is not a valid origin with a wildcard.</summary>
    public static WildcardOrigin? Parse(string text)
    {
        var index = text.IndexOf(Wildcard, StringComparison.Ordinal);
        if (index < 0) return null;
        // Without the wildcard, the text is the origin of the parent domain.
        var parent = OriginCheck.Normalize(text.Remove(index + "://".Length, "*.".Length));
        if (parent is null) return null;
        var end = parent.IndexOf("://", StringComparison.Ordinal) + "://".Length;
        return new(parent[..end], "." + parent[end..]);
    }

    /// <summary>Returns true for the origin of a subdomain. The parent domain itself does not match.</summary>
    public bool Matches(string origin) =>
        origin.Length > Prefix.Length + Suffix.Length
        && origin.StartsWith(Prefix, StringComparison.OrdinalIgnoreCase)
        && origin.EndsWith(Suffix, StringComparison.OrdinalIgnoreCase)
        && IsSubdomain(origin.AsSpan(Prefix.Length, origin.Length - Prefix.Length - Suffix.Length));

    /// <summary>
    /// Returns false if the text starts with a dot, or contains a character that cannot be part of a host name. For
    /// example, <c>evil.example/</c> contains a slash.
    /// </summary>
    static bool IsSubdomain(ReadOnlySpan<char> text)
    {
        foreach (var character in text)
        {
            if (!char.IsAsciiLetterOrDigit(character) && character is not ('-' or '.' or '_')) return false;
        }

        return text[0] != '.';
    }
}
