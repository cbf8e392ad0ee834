using Microsoft.AspNetCore.Http;

namespace Broadcast.Middleware;

/// <summary>
/// Whether the page that opens a connection may (RFC 6455, section 10.2). Browsers attach the user's cookies to a WebSocket that
/// any page opens, and are bound by no same-origin policy for it; this check is what keeps other sites out.
/// </summary>
sealed class OriginCheck
{
    readonly bool _allowsAny;
    readonly HashSet<string> _allowed;

    public OriginCheck(BroadcastOptions options)
    {
        _allowsAny = options.AllowedOrigins.Contains("*");
        _allowed = new(options.AllowedOrigins, StringComparer.OrdinalIgnoreCase);
    }

    /// <summary>Whether the text is what an Origin header holds, or the star.</summary>
    public static bool IsOrigin(string text) =>
        text is "*" or "null"
        || (Uri.TryCreate(text, UriKind.Absolute, out var uri) && uri.GetLeftPart(UriPartial.Authority).Equals(text, StringComparison.OrdinalIgnoreCase));

    /// <summary>Clients that are no browsers send no origin, and pass.</summary>
    public bool Allows(HttpRequest request)
    {
        var origin = request.Headers.Origin;
        if (_allowsAny || origin.Count == 0) return true;
        return origin.Count == 1 && (_allowed.Contains(origin[0]!) || IsOwn(origin[0]!, new HostString(request.Headers.Host.ToString())));
    }

    /// <summary>
    /// Compares with what the client takes for the host. Not the scheme: behind a proxy that ends TLS the request's is not the
    /// client's. "null", the origin of sandboxed pages and files, is no URL and so never the own host.
    /// </summary>
    static bool IsOwn(string origin, HostString host)
    {
        if (!Uri.TryCreate(origin, UriKind.Absolute, out var uri) || uri.Scheme is not ("http" or "https")) return false;
        // Both as they were sent, in ASCII: HttpRequest.Host would decode internationalized names, and throws at what is none.
        return string.Equals(uri.Host, host.Host, StringComparison.OrdinalIgnoreCase) && uri.Port == (host.Port ?? PortOf(uri.Scheme));
    }

    static int PortOf(string scheme) => scheme == "https" ? 443 : 80;
}
