using Broadcast.Middleware.Connections;
using Broadcast.Middleware.Delivery;
using Microsoft.AspNetCore.Authentication;
using Microsoft.AspNetCore.Http;
using Microsoft.AspNetCore.Http.Features;
using Microsoft.AspNetCore.Http.Features.Authentication;
using Microsoft.AspNetCore.Routing;

namespace Broadcast.Middleware.Http;

/// <summary>Reads the properties of a connection from the HTTP request.</summary>
/// <remarks>
/// The factory reads the features of the request. The properties of <see cref="HttpContext"/> would create objects that
/// stay in memory until the connection ends.
/// </remarks>
/// <param name="userIds">Finds the user ID.</param>
/// <param name="cookies">Finds the cookie. Null if the server does not observe the renewals of cookies.</param>
sealed class ConnectionRequestFactory(UserIds userIds, CookieRenewals? cookies)
{
    public ConnectionRequest Create(
        HttpContext context,
        ConnectionTransport transport,
        string group,
        bool hasRouteValues,
        ConnectionFormat format,
        EndpointSettings settings,
        SubscriptionFilter? filter)
    {
        var authentication = context.Features.Get<IAuthenticateResultFeature>()?.AuthenticateResult;
        return CreateAnonymous(context, transport, group, hasRouteValues, format, settings) with
        {
            UserId = userIds.Get(context),
            User = context.Features.Get<IHttpAuthenticationFeature>()?.User,
            AuthenticationExpires = authentication?.Properties?.ExpiresUtc,
            Ticket = cookies?.Find(authentication?.Ticket),
            Filter = filter,
        };
    }

    /// <summary>
    /// Reads the properties without the user of the request. The method does not call the user ID provider of the app,
    /// because the provider may expect an authenticated user.
    /// </summary>
    public static ConnectionRequest CreateAnonymous(
        HttpContext context,
        ConnectionTransport transport,
        string group,
        bool hasRouteValues,
        ConnectionFormat format,
        EndpointSettings settings) => new(
        transport,
        group,
        null,
        null,
        context.Features.Get<IHttpConnectionFeature>()?.RemoteIpAddress,
        // Copy the values, because the server clears the dictionary after the request.
        hasRouteValues ? new RouteValueDictionary(context.Request.RouteValues) : null,
        null,
        format,
        settings);
}
