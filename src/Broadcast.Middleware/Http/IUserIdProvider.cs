using System.Security.Claims;
using Microsoft.AspNetCore.Http;

namespace Broadcast.Middleware;

/// <summary>
/// Provides user IDs. Implement this interface if the user ID is not the claim <see cref="ClaimTypes.NameIdentifier"/>.
/// </summary>
/// <remarks>Register the provider as a service. For a named broadcast, use the name as the key.</remarks>
public interface IUserIdProvider
{
    /// <summary>
    /// Returns the ID of the user, or null for an anonymous client. The ID must be the same on all devices of the user.
    /// </summary>
    /// <param name="context">The request of the connection.</param>
    string? GetUserId(HttpContext context);
}
