using System.Text;
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
        _allowed = new(options.AllowedOrigins.Select(AsSent).OfType<string>(), StringComparer.OrdinalIgnoreCase);
    }

    /// <summary>The origin as an Origin header holds it, in ASCII (RFC 6454, section 6.2), or the star; null if the text is neither.</summary>
    public static string? AsSent(string text)
    {
        if (text is "*" or "null") return text;
        // A URL's authority may name a user; an origin does not.
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
            // A host that has no form in ASCII.
            return null;
        }
    }

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
