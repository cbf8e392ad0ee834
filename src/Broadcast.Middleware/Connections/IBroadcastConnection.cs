using System.Security.Claims;
using Microsoft.AspNetCore.Http;

namespace Broadcast.Middleware;

/// <summary>A client that is connected to this node.</summary>
public interface IBroadcastConnection
{
    /// <summary>Names the connection, and nothing else ever: 128 random bits, in 22 characters of base64url.</summary>
    string Id { get; }

    /// <summary>Who connected, as the app's authentication found; anonymous without one.</summary>
    ClaimsPrincipal User { get; }

    /// <summary>The user's id: the claim <see cref="ClaimTypes.NameIdentifier"/>, or what an <see cref="IUserIdProvider"/> says; null if anonymous.</summary>
    string? UserId { get; }

    /// <summary>The group of the URL it connected to, whose members hear what it sends.</summary>
    string HomeGroup { get; }

    /// <summary>The groups it is in at the moment; a copy.</summary>
    IReadOnlyCollection<string> Groups { get; }

    /// <summary>When it connected.</summary>
    DateTimeOffset ConnectedAt { get; }

    /// <summary>
    /// The request it came with, for its headers, query and services. Valid until the connection's disconnect filters have run.
    /// </summary>
    HttpContext HttpContext { get; }
}
