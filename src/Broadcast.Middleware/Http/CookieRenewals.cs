using System.Collections.Concurrent;
using System.Security.Claims;
using Broadcast.Middleware.Connections;
using Microsoft.AspNetCore.Authentication;
using Microsoft.AspNetCore.Authentication.Cookies;
using Microsoft.Extensions.Options;

namespace Broadcast.Middleware.Http;

/// <summary>
/// Records the renewals of cookies with a sliding expiration. After a renewal, the server keeps a connection open
/// although the cookie of its handshake has expired.
/// </summary>
/// <remarks>
/// After half of the lifetime of a cookie, cookie authentication renews the cookie in the next request to the app. The
/// old and the new cookie have the same user. So the key of a cookie also contains the times at which the cookie is
/// issued and expires.
/// </remarks>
sealed class CookieRenewals(TimeProvider time) : IPostConfigureOptions<CookieAuthenticationOptions>
{
    const int MaxRenewals = 100_000;

    // A heartbeat detects an expiration a few seconds late. So the class keeps a renewal for this additional time.
    static readonly TimeSpan Margin = TimeSpan.FromMinutes(1);

    readonly ConcurrentDictionary<string, byte> _schemes = new(StringComparer.Ordinal);
    readonly ConcurrentDictionary<TicketKey, TicketKey> _renewals = new();
    long _nextTrim;

    /// <summary>Observes the renewals of a cookie scheme.</summary>
    public void PostConfigure(string? name, CookieAuthenticationOptions options)
    {
        if (name is null) return;
        var (checkSliding, validate) = (options.Events.OnCheckSlidingExpiration, options.Events.OnValidatePrincipal);
        options.Events.OnCheckSlidingExpiration = async context =>
        {
            await checkSliding(context);
            if (context.ShouldRenew) Add(context);
        };
        options.Events.OnValidatePrincipal = async context =>
        {
            // The app may change the principal or set it to null.
            var old = CreateKey(context.Scheme.Name, context.Principal, context.Properties);
            await validate(context);
            if (context.Principal is null && old is { } rejected) _renewals.TryRemove(rejected, out _);
            else if (context.ShouldRenew) Add(context);
        };
        _schemes[name] = 0;
    }

    /// <summary>Returns the cookie of a request. Null if the request has no cookie that can be renewed.</summary>
    public RenewableTicket? Find(AuthenticationTicket? ticket) =>
        ticket is not null && _schemes.ContainsKey(ticket.AuthenticationScheme)
        && CreateKey(ticket.AuthenticationScheme, ticket.Principal, ticket.Properties) is { } key
            ? new Cookie(this, key)
            : null;

    void Add(PrincipalContext<CookieAuthenticationOptions> context)
    {
        if (CreateKey(context.Scheme.Name, context.Principal, context.Properties) is not { } old) return;
        var now = (context.Options.TimeProvider ?? time).GetUtcNow().ToUnixTimeSeconds();
        Trim(now);
        if (_renewals.Count < MaxRenewals)
            _renewals[old] = old with { Issued = now, Expires = now + old.Expires - old.Issued };
    }

    void Trim(long now)
    {
        var next = Volatile.Read(ref _nextTrim);
        var margin = (long)Margin.TotalSeconds;
        if (now < next || Interlocked.CompareExchange(ref _nextTrim, now + margin, next) != next) return;
        foreach (var (old, _) in _renewals)
        {
            if (old.Expires + margin < now) _renewals.TryRemove(old, out _);
        }
    }

    static TicketKey? CreateKey(string scheme, ClaimsPrincipal? user, AuthenticationProperties properties) =>
        properties is { IssuedUtc: { } issued, ExpiresUtc: { } expires }
            ? new(scheme, GetUser(user), issued.ToUnixTimeSeconds(), expires.ToUnixTimeSeconds())
            : null;

    static string? GetUser(ClaimsPrincipal? user) =>
        user?.FindFirst(ClaimTypes.NameIdentifier)?.Value ?? user?.FindFirst("sub")?.Value ?? user?.Identity?.Name;

    /// <summary>Identifies a cookie. The times are in seconds, because a cookie stores whole seconds.</summary>
    readonly record struct TicketKey(string Scheme, string? User, long Issued, long Expires);

    sealed class Cookie(CookieRenewals renewals, TicketKey key) : RenewableTicket
    {
        TicketKey _key = key;

        public override DateTimeOffset? GetRenewedExpiration()
        {
            var expires = _key.Expires;
            while (renewals._renewals.TryGetValue(_key, out var next) && next.Expires > _key.Expires) _key = next;
            return _key.Expires > expires ? DateTimeOffset.FromUnixTimeSeconds(_key.Expires) : null;
        }
    }
}
