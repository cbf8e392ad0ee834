using System.Net;
using System.Security.Claims;

namespace Broadcast.Middleware;

/// <summary>
/// A client that is connected to this node. All members stay readable after the connection has ended.
/// </summary>
public interface IBroadcastConnection
{
    /// <summary>A unique ID: 128 random bits in 22 characters of base64url. The server never reuses an ID.</summary>
    string Id { get; }

    /// <summary>The authenticated user. An anonymous principal if the client is not authenticated.</summary>
    ClaimsPrincipal User { get; }

    /// <summary>
    /// The ID of the user: the claim <see cref="ClaimTypes.NameIdentifier"/> or <c>sub</c>, or the result of an
    /// <see cref="IUserIdProvider"/>. Null for an anonymous client.
    /// </summary>
    string? UserId { get; }

    /// <summary>The IP address of the client. Null if the server does not know the address.</summary>
    IPAddress? RemoteAddress { get; }

    /// <summary>The route values of the URL, for example <c>room</c> for the pattern <c>/rooms/{room}</c>.</summary>
    IReadOnlyDictionary<string, object?> RouteValues { get; }

    /// <summary>
    /// The group of the URL. By default, the members of this group receive the messages that the client sends.
    /// </summary>
    string HomeGroup { get; }

    /// <summary>The names of the groups that the connection is in. The property returns a copy.</summary>
    IReadOnlyCollection<string> Groups { get; }

    /// <summary>The time at which the client connected.</summary>
    DateTimeOffset ConnectedAt { get; }

    /// <summary>
    /// Data of the app for this connection. The first read creates the dictionary. The dictionary is not safe for
    /// concurrent use.
    /// </summary>
    IDictionary<object, object?> Items { get; }

    /// <summary>
    /// Canceled when the client disconnects or the connection ends. After a client has reconnected, the property
    /// returns a new token.
    /// </summary>
    CancellationToken ConnectionAborted { get; }
}
