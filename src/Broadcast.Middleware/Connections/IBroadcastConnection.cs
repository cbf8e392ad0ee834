using System.Net;
using System.Security.Claims;

namespace Broadcast.Middleware;

/// <summary>
/// A client that is connected to this node. All members stay readable after the connection has ended.
/// </summary>
public interface IBroadcastConnection
{
    /// <summary>
    /// A unique ID: 128 random bits in 22 characters of base64url. The server never uses an ID again.
    /// </summary>
    string Id { get; }

    /// <summary>
    /// The user that the authentication of the app found. Without authentication, this is an anonymous principal.
    /// </summary>
    ClaimsPrincipal User { get; }

    /// <summary>
    /// The ID of the user: the claim <see cref="ClaimTypes.NameIdentifier"/>, or the result of an
    /// <see cref="IUserIdProvider"/>. Null for an anonymous client.
    /// </summary>
    string? UserId { get; }

    /// <summary>The IP address of the client. Null if the server does not know it.</summary>
    IPAddress? RemoteAddress { get; }

    /// <summary>The route values of the URL, for example <c>room</c> for the pattern <c>/rooms/{room}</c>.</summary>
    IReadOnlyDictionary<string, object?> RouteValues { get; }

    /// <summary>The group of the URL. Its members receive what this client sends.</summary>
    string HomeGroup { get; }

    /// <summary>A copy of the names of the groups that the connection is in.</summary>
    IReadOnlyCollection<string> Groups { get; }

    /// <summary>The time at which the client connected.</summary>
    DateTimeOffset ConnectedAt { get; }

    /// <summary>
    /// Data of the app for this connection. The dictionary is created when first used. It is not safe for concurrent
    /// use.
    /// </summary>
    IDictionary<object, object?> Items { get; }

    /// <summary>
    /// Canceled when the client disconnects or the connection ends. After a client has reconnected, the property
    /// returns a new token.
    /// </summary>
    CancellationToken ConnectionAborted { get; }
}
