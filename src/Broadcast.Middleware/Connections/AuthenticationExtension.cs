using System.Security.Claims;

namespace Broadcast.Middleware.Connections;

/// <summary>The new authentication of a connection. The user ID of the connection stays the same.</summary>
/// <param name="ConnectionId">The ID of the connection.</param>
/// <param name="UserId">The ID of the user. The user of the connection must have the same ID.</param>
/// <param name="HomeGroup">
/// The home group that the connection must have. Null accepts a connection with any home group.
/// </param>
/// <param name="User">The user with the new claims.</param>
/// <param name="Expires">
/// The time at which the new authentication expires. Null if the authentication never expires.
/// </param>
sealed record AuthenticationExtension(
    string ConnectionId, string UserId, string? HomeGroup, ClaimsPrincipal User, DateTimeOffset? Expires);
