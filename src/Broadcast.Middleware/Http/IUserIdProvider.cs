using System.Security.Claims;
using Microsoft.AspNetCore.Http;

namespace Broadcast.Middleware;

/// <summary>
/// Provides user IDs. Without a provider, the user ID is the claim <see cref="ClaimTypes.NameIdentifier"/>. If the user
/// does not have this claim, the user ID is the claim <c>sub</c>. Implement this interface to use another source.
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
