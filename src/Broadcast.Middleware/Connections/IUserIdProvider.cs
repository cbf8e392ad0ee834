using System.Security.Claims;
using Microsoft.AspNetCore.Http;

namespace Broadcast.Middleware;

/// <summary>
/// Says which user a connection belongs to, where that is not the claim <see cref="ClaimTypes.NameIdentifier"/>: register one as a
/// service, keyed by the broadcast's name for one that has a name.
/// </summary>
public interface IUserIdProvider
{
    /// <summary>The user's id, the same on all of their devices; null for nobody in particular.</summary>
    /// <param name="context">The request that is about to become a connection.</param>
    string? GetUserId(HttpContext context);
}
