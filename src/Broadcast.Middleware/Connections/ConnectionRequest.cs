using System.Net;
using System.Security.Claims;
using Broadcast.Middleware.Delivery;

namespace Broadcast.Middleware.Connections;

/// <summary>The properties of a request that opens a connection or reconnects to an existing connection.</summary>
/// <param name="Transport">The transport of the request.</param>
/// <param name="HomeGroup">The group of the URL.</param>
/// <param name="UserId">See <see cref="IBroadcastConnection.UserId"/>.</param>
/// <param name="User">The authenticated user. Null for an anonymous client.</param>
/// <param name="RemoteAddress">See <see cref="IBroadcastConnection.RemoteAddress"/>.</param>
/// <param name="RouteValues">The route values. Null if the pattern has no parameters.</param>
/// <param name="AuthenticationExpires">
/// The time at which the authentication expires. Null if the authentication never expires.
/// </param>
/// <param name="Format">The format of the connection.</param>
/// <param name="Settings">
/// The settings of the endpoint. After a reconnect, the settings of the first request stay in effect.
/// </param>
/// <param name="Ticket">The cookie of the request. Null if the cookie cannot be renewed.</param>
/// <param name="Filter">
/// The filter in the URL. Null if the URL has no filter. After a reconnect, the filter of the first request stays in
/// effect.
/// </param>
sealed record ConnectionRequest(
    ConnectionTransport Transport,
    string HomeGroup,
    string? UserId,
    ClaimsPrincipal? User,
    IPAddress? RemoteAddress,
    IReadOnlyDictionary<string, object?>? RouteValues,
    DateTimeOffset? AuthenticationExpires,
    ConnectionFormat Format,
    EndpointSettings Settings,
    RenewableTicket? Ticket = null,
    SubscriptionFilter? Filter = null);
