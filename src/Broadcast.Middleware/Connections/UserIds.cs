using System.Security.Claims;
using Broadcast.Middleware.Diagnostics;
using Microsoft.AspNetCore.Http;
using Microsoft.AspNetCore.Http.Features.Authentication;

namespace Broadcast.Middleware.Connections;

/// <summary>
/// Finds the user ID of a request. Logs a warning for the first authenticated request without a user ID.
/// </summary>
/// <param name="provide">Calls the user ID provider of the app. Null if the app has no provider.</param>
/// <param name="logger">The logger.</param>
sealed class UserIds(Func<HttpContext, string?>? provide, BroadcastLogger logger)
{
    // The name of the claim in a JSON Web Token (RFC 7519, section 4.1.2). JwtBearer keeps this name if
    // MapInboundClaims is false.
    const string Subject = "sub";

    bool _hasWarned;

    public string? Get(HttpContext context)
    {
        var user = context.Features.Get<IHttpAuthenticationFeature>()?.User;
        var id = provide is null ? Find(user) : provide(context);
        if (id is null && user is { Identity.IsAuthenticated: true } && !Interlocked.Exchange(ref _hasWarned, true))
            logger.UserIdMissing();
        return id;
    }

    /// <summary>
    /// Finds the ID of a user when no request is available. The provider of the app receives an empty
    /// <see cref="HttpContext"/> with this user.
    /// </summary>
    public string? Get(ClaimsPrincipal user) =>
        provide is null ? Find(user) : provide(new DefaultHttpContext { User = user });

    static string? Find(ClaimsPrincipal? user) =>
        (user?.FindFirst(ClaimTypes.NameIdentifier) ?? user?.FindFirst(Subject))?.Value;
}
