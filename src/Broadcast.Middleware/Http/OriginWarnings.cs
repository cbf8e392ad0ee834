using Broadcast.Middleware.Diagnostics;
using Microsoft.AspNetCore.Http;

namespace Broadcast.Middleware.Http;

/// <summary>Logs a warning when an endpoint refuses the pages of an origin for the first time.</summary>
/// <remarks>
/// A browser reports a refused handshake only as close code 1006. So a developer can find the cause only in the log of
/// the server. The usual cause is a proxy that replaces the header <c>Host</c>.
/// </remarks>
sealed class OriginWarnings(BroadcastLogger logger)
{
    // A client can send any origin, so these constants limit the memory and the size of the log.
    const int MaxOrigins = 100;
    const int MaxLength = 255;

    const string Invalid = "(invalid)";

    readonly HashSet<string> _origins = new(StringComparer.OrdinalIgnoreCase);

    public void OnRefused(HttpRequest request)
    {
        var origin = request.Headers.Origin is [{ } single] && OriginCheck.Normalize(single) is not null
            ? Clean(single)
            : Invalid;
        lock (_origins)
        {
            if (_origins.Count == MaxOrigins || !_origins.Add(origin)) return;
        }

        logger.OriginRefused(origin, request.IsHttps ? "https" : "http", Clean(request.Headers.Host.ToString()));
    }

    /// <summary>
    /// Returns the text. Returns <see cref="Invalid"/> instead if the text is too long, or if it contains a space, a
    /// control character or a non-ASCII character.
    /// </summary>
    static string Clean(string text) =>
        text.Length <= MaxLength && text.All(static character => character is > ' ' and < '\x7F') ? text : Invalid;
}
