using System.Collections.Concurrent;
using System.Security.Claims;
using Broadcast.Middleware.Connections;
using Microsoft.AspNetCore.Authentication;
using Microsoft.AspNetCore.Authentication.Cookies;
using Microsoft.AspNetCore.Http;
using Microsoft.Extensions.Options;

namespace Broadcast.Middleware.Http;

/// <summary>
/// Records the renewals of cookies with a sliding expiration. After a renewal, the server keeps a connection open
/// although the cookie of its handshake has expired.
/// </summary>
/// <remarks>
/// After half of the lifetime of a cookie, cookie authentication renews the cookie in the next request to the app. The
/// class observes the cookies that the server writes, not the events of the scheme. An app can replace the events, and
/// a sign-out in the same request cancels the renewal. Two requests can renew one cookie at the same time, and the
/// browser keeps one of the new cookies. So all cookies that replace each other share one session.
/// </remarks>
sealed class CookieRenewals(TimeProvider time) : IPostConfigureOptions<CookieAuthenticationOptions>
{
    // Above this number, the class records no more renewals. A connection without a recorded renewal ends when the
    // cookie of its handshake expires.
    const int MaxCookies = 200_000;

    // A heartbeat detects an expiration a few seconds late. So the class keeps a cookie for this additional time.
    static readonly TimeSpan Margin = TimeSpan.FromMinutes(1);

    readonly ConcurrentDictionary<string, byte> _schemes = new(StringComparer.Ordinal);
    readonly Lock _gate = new();
    readonly Dictionary<CookieKey, Session> _sessions = [];
    DateTimeOffset _nextTrim;

    /// <summary>Observes the cookies of a scheme.</summary>
    public void PostConfigure(string? name, CookieAuthenticationOptions options)
    {
        if (name is null) return;
        // The default of ASP.NET Core is also a ChunkingCookieManager.
        options.CookieManager =
            new CookieObserver(this, name, options, options.CookieManager ?? new ChunkingCookieManager());
        _schemes[name] = 0;
    }

    /// <summary>Returns the cookie of a request. Null if the request has no cookie that can be renewed.</summary>
    public RenewableTicket? Find(AuthenticationTicket? ticket) =>
        ticket is not null && _schemes.ContainsKey(ticket.AuthenticationScheme) && CreateKey(ticket) is { } key
            ? new Cookie(this, key)
            : null;

    /// <summary>Records that the client receives a new cookie.</summary>
    /// <param name="old">The valid cookie of the request.</param>
    /// <param name="renewed">The cookie of the response.</param>
    void Add(CookieKey old, CookieKey renewed)
    {
        if (renewed.User != old.User || renewed.Expires <= old.Expires) return;
        lock (_gate)
        {
            TrimLocked(time.GetUtcNow());
            if (_sessions.Count >= MaxCookies) return;
            if (!_sessions.TryGetValue(old, out var session)) _sessions[old] = session = new();
            _sessions[renewed] = session;
            if (renewed.Expires > session.Expires) session.Expires = renewed.Expires;
        }
    }

    void TrimLocked(DateTimeOffset now)
    {
        if (now < _nextTrim) return;
        _nextTrim = now + Margin;
        foreach (var (cookie, _) in _sessions)
        {
            if (cookie.Expires + Margin < now) _sessions.Remove(cookie);
        }
    }

    /// <summary>
    /// Creates the key of a cookie from its ticket. Returns null if the ticket has no expiration or no user.
    /// </summary>
    static CookieKey? CreateKey(AuthenticationTicket? ticket) =>
        ticket is { Properties.ExpiresUtc: { } expires } && GetUser(ticket.Principal) is { } user
            ? new(ticket.AuthenticationScheme, user, expires)
            : null;

    static string? GetUser(ClaimsPrincipal user) =>
        user.FindFirst(ClaimTypes.NameIdentifier)?.Value ?? user.FindFirst("sub")?.Value ?? user.Identity?.Name;

    /// <summary>Identifies a cookie.</summary>
    readonly record struct CookieKey(string Scheme, string User, DateTimeOffset Expires);

    /// <summary>The shared state of cookies that replace each other.</summary>
    sealed class Session
    {
        /// <summary>The expiration of the newest cookie. Code that uses this property holds the lock.</summary>
        public DateTimeOffset Expires { get; set; }
    }

    sealed class Cookie(CookieRenewals renewals, CookieKey key) : RenewableTicket
    {
        // The class removes an expired cookie from the dictionary, but this field keeps the session.
        Session? _session;

        public override DateTimeOffset? GetRenewedExpiration()
        {
            lock (renewals._gate)
            {
                _session ??= renewals._sessions.GetValueOrDefault(key);
                return _session?.Expires;
            }
        }
    }

    /// <summary>Observes the cookies that a scheme writes.</summary>
    sealed class CookieObserver(
        CookieRenewals renewals, string scheme, CookieAuthenticationOptions options, ICookieManager cookies)
        : ICookieManager
    {
        public string? GetRequestCookie(HttpContext context, string key) => cookies.GetRequestCookie(context, key);

        public void AppendResponseCookie(HttpContext context, string key, string? value, CookieOptions cookieOptions)
        {
            cookies.AppendResponseCookie(context, key, value, cookieOptions);
            // A sign-in also writes a cookie. This cookie counts as a renewal only if the request has a valid cookie of
            // the same user.
            var ticket = context.Features.Get<IAuthenticateResultFeature>()?.AuthenticateResult?.Ticket;
            if (ticket?.AuthenticationScheme == scheme && CreateKey(ticket) is { } old
                && CreateKey(options.TicketDataFormat.Unprotect(value)) is { } renewed) renewals.Add(old, renewed);
        }

        public void DeleteCookie(HttpContext context, string key, CookieOptions cookieOptions) =>
            cookies.DeleteCookie(context, key, cookieOptions);
    }
}
