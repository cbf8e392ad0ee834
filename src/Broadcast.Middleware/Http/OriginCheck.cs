using System.Text;
using Microsoft.AspNetCore.Http;

namespace Broadcast.Middleware.Http;

/// <summary>Checks whether the page that opens a connection is allowed to do so (RFC 6455, section 10.2).</summary>
/// <remarks>
/// Browsers send the cookies of the user with a WebSocket that any page opens. The same-origin policy does not apply to
/// WebSockets. This check keeps pages of other sites out.
/// </remarks>
sealed class OriginCheck
{
    readonly bool _allowsAny;
    readonly HashSet<string> _allowed;

    public OriginCheck(IEnumerable<string> allowedOrigins)
    {
        var origins = allowedOrigins.ToArray();
        _allowsAny = origins.Contains("*");
        _allowed = new(origins.Select(Normalize).OfType<string>(), StringComparer.OrdinalIgnoreCase);
    }

    /// <summary>
    /// Returns an origin as browsers send it, in ASCII (RFC 6454, section 6.2), or <c>*</c>. Returns null for any other
    /// text.
    /// </summary>
    public static string? Normalize(string text)
    {
        if (text is "*" or "null") return text;
        // The authority of a URL may contain a user. An origin never does.
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
            // The host cannot be written in ASCII.
            return null;
        }
    }

    /// <summary>True if the page is allowed. Clients other than browsers send no origin and are allowed.</summary>
    public bool Allows(HttpRequest request)
    {
        var origin = request.Headers.Origin;
        if (_allowsAny) return true;
        if (origin.Count == 0) return !IsForeign(request);
        if (origin is not [{ } single]) return false;
        return _allowed.Contains(single)
            || IsOwn(single, new HostString(request.Headers.Host.ToString()), request.IsHttps);
    }

    /// <summary>True if a page of another origin sent the request without an origin.</summary>
    /// <remarks>
    /// Browsers send no origin with some GET requests, for example with <c>fetch</c> in the mode <c>no-cors</c>, but
    /// they send the cookies of the user. They describe such a request in <c>Sec-Fetch-Site</c> (W3C Fetch Metadata).
    /// </remarks>
    static bool IsForeign(HttpRequest request) =>
        request.Headers["Sec-Fetch-Site"] is [{ } site, ..] && site is not ("same-origin" or "none");

    /// <summary>True if the origin is the host of the request.</summary>
    /// <remarks>
    /// Behind a proxy that ends TLS, an HTTPS page sends a request that arrives over HTTP. So this scheme is not
    /// compared. A request that arrives over HTTPS must come from an HTTPS page. The origin "null" of sandboxed pages and files is not a URL, so it never matches.
    /// </remarks>
    static bool IsOwn(string origin, HostString host, bool isHttps)
    {
        if (!Uri.TryCreate(origin, UriKind.Absolute, out var uri)) return false;
        if (uri.Scheme != "https" && (isHttps || uri.Scheme != "http")) return false;
        // Compare the ASCII forms that the client sent. HttpRequest.Host decodes international names and throws for
        // invalid names.
        return string.Equals(uri.Host, host.Host, StringComparison.OrdinalIgnoreCase)
            && uri.Port == (host.Port ?? PortOf(uri.Scheme));
    }

    static int PortOf(string scheme) => scheme == "https" ? 443 : 80;
}
