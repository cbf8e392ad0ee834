using System.Security.Claims;
using Microsoft.AspNetCore.Http;

namespace Broadcast.Middleware;

/// <summary>
/// Returns the user ID of a connection, if it is not the claim <see cref="ClaimTypes.NameIdentifier"/>.
/// </summary>
/// <remarks>Register it as a service. For a named broadcast, use the name as the key.</remarks>
public interface IUserIdProvider
{
    /// <summary>
    /// Returns the ID of the user. It must be the same on all devices of the user. Null for an anonymous client.
    /// </summary>
    /// <param name="context">The request of the connection.</param>
    string? GetUserId(HttpContext context);
}
