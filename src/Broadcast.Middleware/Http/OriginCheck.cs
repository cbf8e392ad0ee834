using System.Text;
using Microsoft.AspNetCore.Http;

namespace Broadcast.Middleware.Http;

/// <summary>Checks whether the server allows the page that opens a connection (RFC 6455, section 10.2).</summary>
/// <remarks>
/// Any page can open a WebSocket to this server, and the browser sends the cookies of the user. The same-origin policy
/// does not apply to WebSockets. This check refuses the pages of other sites.
/// </remarks>
sealed class OriginCheck
{
    readonly bool _allowsAny;
    readonly bool _allowsLoopback;
    readonly HashSet<string> _allowed;
    readonly WildcardOrigin[] _wildcards;
    readonly Func<string, bool>? _isAllowed;

    /// <param name="allowedOrigins">See <see cref="BroadcastOptions.AllowedOrigins"/>.</param>
    /// <param name="isAllowed">See <see cref="BroadcastOptions.IsOriginAllowed"/>.</param>
    /// <param name="allowsLoopback">
    /// True if pages of localhost may connect. During development, a development server often serves the pages on
    /// another port.
    /// </param>
    public OriginCheck(IEnumerable<string> allowedOrigins, Func<string, bool>? isAllowed, bool allowsLoopback)
    {
        _isAllowed = isAllowed;
        _allowsLoopback = allowsLoopback;
        var origins = allowedOrigins.ToArray();
        _wildcards = [.. origins.Select(WildcardOrigin.Parse).OfType<WildcardOrigin>()];
        _allowsAny = origins.Contains("*");
        _allowed = new(origins.Select(Normalize).OfType<string>(), StringComparer.OrdinalIgnoreCase);
    }

    /// <summary>Returns true if the text is a valid entry of <see cref="BroadcastOptions.AllowedOrigins"/>.</summary>
    public static bool IsValid(string text) => Normalize(text) is not null || WildcardOrigin.Parse(text) is not null;

    /// <summary>
    /// Returns an origin in the ASCII form that browsers send (RFC 6454, section 6.2). Returns the texts <c>*</c> and
    /// <c>null</c> unchanged. Returns a null reference if the text is not an origin.
    /// </summary>
    public static string? Normalize(string text)
    {
        if (text is "*" or "null") return text;
        // The authority of a URL may contain a user name. An origin never contains a user name.
        if (text.Contains('@') || !Uri.TryCreate(text, UriKind.Absolute, out var uri)
            || !uri.GetLeftPart(UriPartial.Authority).Equals(text, StringComparison.OrdinalIgnoreCase)) return null;
        if (Ascii.IsValid(text)) return text;
        try
        {
            var origin = $"{uri.Scheme}://{uri.IdnHost}{(uri.IsDefaultPort ? "" : $":{uri.Port}")}";
            return Ascii.IsValid(origin) ? origin : null;
        }
        catch (UriFormatException)
        {
            // The host has no ASCII form.
            return null;
        }
    }

    /// <summary>
    /// Returns true if the server allows the page. Clients other than browsers send no origin, and the server allows
    /// these clients.
    /// </summary>
    public bool Allows(HttpRequest request)
    {
        var origin = request.Headers.Origin;
        if (_allowsAny || origin.Count == 0) return true;
        if (origin is not [{ } single]) return false;
        return _allowed.Contains(single)
            || MatchesWildcard(single)
            || (Uri.TryCreate(single, UriKind.Absolute, out var uri) && uri.Scheme is ("https" or "http")
                && (IsOwn(uri, request) || (_allowsLoopback && IsLoopback(uri))))
            || (_isAllowed is not null && _isAllowed(single));
    }

    /// <summary>
    /// Returns false if a page of another origin sent the request without the header <c>Origin</c>. The server cannot
    /// check whether the app allows this page.
    /// </summary>
    /// <remarks>
    /// Browsers send an origin with each WebSocket handshake. But some GET requests have the cookies of the user and no
    /// origin, for example <c>fetch</c> with the mode <c>no-cors</c>. For these requests, browsers report in
    /// <c>Sec-Fetch-Site</c> whether the page has the origin of the server (W3C Fetch Metadata Request Headers, section
    /// 2.4).
    /// </remarks>
    public bool AllowsWithoutOrigin(HttpRequest request) =>
        _allowsAny
        || request.Headers.Origin.Count > 0
        || request.Headers["Sec-Fetch-Site"] is not [{ } site, ..]
        || site is "same-origin" or "none";

    bool MatchesWildcard(string origin)
    {
        foreach (var wildcard in _wildcards)
        {
            if (wildcard.Matches(origin)) return true;
        }

        return false;
    }

    /// <summary>Returns true if the origin has the host and the port of the request.</summary>
    /// <remarks>
    /// An https page may send a request that arrives over http, because a proxy may terminate TLS. The check refuses an
    /// http page that sends a request over https, because an attacker in the network can change an http page. Sandboxed
    /// pages and files have the origin "null", which is not a URL and never matches.
    /// </remarks>
    static bool IsOwn(Uri origin, HttpRequest request)
    {
        if (origin.Scheme == "http" && request.IsHttps) return false;
        var host = new HostString(request.Headers.Host.ToString());
        // Compare the ASCII forms that the client sent. HttpRequest.Host decodes international names and throws for
        // invalid names.
        return string.Equals(origin.Host, host.Host, StringComparison.OrdinalIgnoreCase)
            && origin.Port == (host.Port ?? PortOf(origin.Scheme));
    }

    static bool IsLoopback(Uri origin) =>
        origin.IsLoopback || origin.Host.EndsWith(".localhost", StringComparison.OrdinalIgnoreCase);

    static int PortOf(string scheme) => scheme == "https" ? 443 : 80;
}
