using Broadcast.Middleware.Connections;
using Broadcast.Middleware.Delivery;
using Broadcast.Middleware.Diagnostics;
using Broadcast.Middleware.Messages;
using Broadcast.Middleware.Protocols;
using Microsoft.AspNetCore.Builder;
using Microsoft.AspNetCore.Http;
using Microsoft.AspNetCore.Http.Features;
using Microsoft.AspNetCore.Http.Features.Authentication;
using Microsoft.AspNetCore.Http.Timeouts;
using Microsoft.AspNetCore.OutputCaching;
using Microsoft.AspNetCore.WebSockets;
using Microsoft.Extensions.Logging;
using Microsoft.Extensions.Options;
using Microsoft.Net.Http.Headers;

namespace Broadcast.Middleware.Http;

/// <summary>Checks a request, admits the client as a connection, and calls the handler for the transport.</summary>
sealed class BroadcastEndpoint
{
    const string NoOrigin =
        "A page of another site sent this request without an Origin header. To allow the page, open the URL with " +
        "EventSource, and add the origin of the page to the option AllowedOrigins.";

    const string UnknownSubprotocols =
        "The server knows none of the subprotocols in Sec-WebSocket-Protocol. " +
        "Add a subprotocol to the option RawSubprotocols, register an IBroadcastProtocol, or connect without a " +
        "subprotocol.";

    const string InvalidPosition =
        "The query parameter 'after' is not a position. A position has 16 hexadecimal digits, a hyphen and a number, " +
        "such as 00c0ffee00c0ffee-42. Send the position that the server sent, or omit the parameter.";

    readonly GroupNameTemplate _groupName;
    readonly GroupNameScope _groupScope;
    readonly EndpointSettings _settings;
    readonly OriginCheck _origins;
    readonly IReadOnlyList<ProtocolDescriptor> _protocols;
    readonly ConnectionRequestFactory _requests;
    readonly ConnectionManager _connections;
    readonly IGroupProvider _groups;
    readonly WebSocketHandler _webSockets;
    readonly EventStreamHandler _eventStreams;
    readonly Refusal _refusal;
    readonly WebSocketMiddleware _handshake;
    readonly WebSocketMiddleware _refusedRecovery;

    public BroadcastEndpoint(
        GroupNameTemplate groupName,
        GroupNameScope groupScope,
        EndpointSettings settings,
        OriginCheck origins,
        IReadOnlyList<ProtocolDescriptor> protocols,
        ConnectionRequestFactory requests,
        ConnectionManager connections,
        IGroupProvider groups,
        WebSocketHandler webSockets,
        EventStreamHandler eventStreams,
        Refusal refusal,
        ILoggerFactory loggerFactory)
    {
        _groupName = groupName;
        _groupScope = groupScope;
        _settings = settings;
        _origins = origins;
        _protocols = protocols;
        _requests = requests;
        _connections = connections;
        _groups = groups;
        _webSockets = webSockets;
        _eventStreams = eventStreams;
        _refusal = refusal;
        _handshake = new WebSocketMiddleware(AdmitAsync, Options.Create(new WebSocketOptions()), loggerFactory);
        _refusedRecovery = new WebSocketMiddleware(
            RefuseRecoveryAsync, Options.Create(new WebSocketOptions()), loggerFactory);
    }

    public Task InvokeAsync(HttpContext context) => InvokeAsync(context, _handshake, AdmitAsync);

    /// <summary>
    /// Answers a recovery that the app has refused with status 401 or 403. If the app has extended the authentication
    /// of the connection, an anonymous client with a valid reconnection token can recover. Otherwise, the server
    /// completes the handshake and closes the WebSocket with close code 1008, so that the client opens a new
    /// connection. If the request is not a recovery, the response keeps the HTTP error.
    /// </summary>
    public Task OnUnauthorizedAsync(HttpContext context) => InvokeAsync(context, _refusedRecovery, RefuseRecoveryAsync);

    /// <summary>
    /// Returns the group name for the host and the route values of a request. The request may belong to another
    /// endpoint. Returns an empty name if the path starts with two slashes.
    /// </summary>
    public string GetGroup(HttpContext context)
    {
        var (name, group) = GetNames(context.Request);
        return GroupNameScope.Problem(name) is null ? group : "";
    }

    (string Name, string Group) GetNames(HttpRequest request)
    {
        var name = _groupName.GetName(request.RouteValues);
        return (name, _groupScope.GetName(request, name));
    }

    static Task InvokeAsync(HttpContext context, WebSocketMiddleware handshake, RequestDelegate serve)
    {
        var upgrade = context.Features.Get<IHttpUpgradeFeature>();
        var connect = context.Features.Get<IHttpExtendedConnectFeature>();

        // If the server can upgrade requests, run the handshake of ASP.NET Core and then use the upgraded stream. This
        // handshake replaces the handshake of UseWebSockets(), if the app uses that method. Other servers, such as the
        // TestServer of ASP.NET Core, have their own WebSocket implementation.
        var canUpgrade = upgrade is { IsUpgradableRequest: true } || connect is { IsExtendedConnect: true };
        if (!canUpgrade) return serve(context);
        FrameInterposer.Interpose(context.Features, upgrade, connect);
        return handshake.Invoke(context);
    }

    Task RefuseRecoveryAsync(HttpContext context)
    {
        if (_connections.IsStopping || !IsWebSocket(context) || !_origins.Allows(context.Request)
            || ChooseProtocol(context.Request) is not { } protocol
            || !WebSocketHandler.IsRecovery(context.Request, protocol)) return Task.CompletedTask;
        // The URL may still contain the first access token of the client. This token may have expired, although the app
        // has extended the authentication of the connection.
        var isUnauthenticated = context.Response.StatusCode == StatusCodes.Status401Unauthorized
            && context.Features.Get<IHttpAuthenticationFeature>()?.User is not { Identity.IsAuthenticated: true };
        context.Response.Clear();
        var transport = new WebSocketTransport(context);
        PrepareForLongRequest(context);
        if (isUnauthenticated)
        {
            var request = ConnectionRequestFactory.CreateAnonymous(
                context, transport, GetGroup(context), _groupName.HasParameters, protocol, _settings);
            if (_webSockets.IsExtended(context.Request.Query, request))
                return _webSockets.RecoverAsync(context, request, transport, protocol);
        }

        var address = context.Features.Get<IHttpConnectionFeature>()?.RemoteIpAddress;
        return _webSockets.RefuseRecoveryAsync(context, null, address, transport, protocol);
    }

    Task AdmitAsync(HttpContext context)
    {
        if (!_origins.Allows(context.Request)) return _refusal.WriteOriginAsync(context);
        var isWebSocket = IsWebSocket(context);
        if (!isWebSocket && !EventStreamHandler.IsRequested(context.Request))
            return _refusal.WriteNotAWebSocketAsync(context);
        var (name, group) = GetNames(context.Request);
        if ((GroupNameScope.Problem(name) ?? GroupName.Problem(group)) is { } problem)
            return _refusal.WriteAsync(context, RefusalReason.BadRequest, StatusCodes.Status400BadRequest, problem);
        SubscriptionFilter? filter = null;
        if (_settings.AllowsClientFilters && !ClientFilter.TryRead(context.Request, out filter, out var error))
            return _refusal.WriteAsync(context, RefusalReason.BadRequest, StatusCodes.Status400BadRequest, error!);
        return isWebSocket
            ? AdmitWebSocketAsync(context, group, filter)
            : AdmitEventStreamAsync(context, group, filter);
    }

    Task AdmitWebSocketAsync(HttpContext context, string group, SubscriptionFilter? filter)
    {
        // A server may answer without a subprotocol (RFC 6455, section 4.2.2), but then browsers close the connection.
        // So refuse the handshake before the connect filters run.
        if (ChooseProtocol(context.Request) is not { } protocol)
        {
            return _refusal.WriteAndWarnAsync(
                context, RefusalReason.BadRequest, StatusCodes.Status400BadRequest, UnknownSubprotocols);
        }

        var transport = new WebSocketTransport(context);
        var request = _requests.Create(
            context, transport, group, _groupName.HasParameters, protocol, _settings, filter);
        if (!_connections.IsStopping && WebSocketHandler.IsRecovery(context.Request, protocol))
        {
            PrepareForLongRequest(context);
            return _webSockets.RecoverAsync(context, request, transport, protocol);
        }

        if (!WebSocketHandler.TryGetReplay(context.Request, protocol, out _))
        {
            return _refusal.WriteAsync(
                context, RefusalReason.BadRequest, StatusCodes.Status400BadRequest, InvalidPosition);
        }

        if (!CanJoin(group)) return _refusal.WriteAsync(context, RefusalReason.ClusterUnreachable);
        if (_connections.Admit(request, out var reason) is not { } connection)
            return _refusal.WriteAsync(context, reason);
        PrepareForLongRequest(context);
        return _webSockets.ServeAsync(context, connection, transport, protocol);
    }

    Task AdmitEventStreamAsync(HttpContext context, string group, SubscriptionFilter? filter)
    {
        if (!_origins.AllowsWithoutOrigin(context.Request))
            return _refusal.WriteAndWarnAsync(context, RefusalReason.Origin, StatusCodes.Status403Forbidden, NoOrigin);
        if (EventStreamHandler.IsFinished(context.Request))
        {
            context.Response.StatusCode = StatusCodes.Status204NoContent;
            return Task.CompletedTask;
        }

        if (!CanJoin(group)) return _refusal.WriteAsync(context, RefusalReason.ClusterUnreachable);
        var transport = new EventStreamTransport(context);
        var request = _requests.Create(
            context, transport, group, _groupName.HasParameters, EventStreamFormat.Instance, _settings, filter);
        if (_connections.Admit(request, out var reason) is not { } connection)
            return _refusal.WriteAsync(context, reason);
        PrepareForLongRequest(context);
        return _eventStreams.ServeAsync(context, connection);
    }

    /// <summary>
    /// False if the joins of a new connection would fail, because the cluster is unreachable. The server then refuses
    /// the request before the handshake. Otherwise, the client would see an open connection that closes a few seconds
    /// later.
    /// </summary>
    bool CanJoin(string group) => _groups.CanAcquire(group) && _groups.CanAcquire(GroupName.Everyone);

    /// <summary>
    /// Chooses the protocol of a client. Returns null if the client requests only unknown subprotocols.
    /// </summary>
    ProtocolDescriptor? ChooseProtocol(HttpRequest request)
    {
        if (request.Headers.SecWebSocketProtocol.Count == 0) return ProtocolDescriptor.Raw;
        var requested = request.Headers.GetCommaSeparatedValues(HeaderNames.SecWebSocketProtocol);
        return requested.Length == 0 ? ProtocolDescriptor.Raw : ProtocolDescriptor.Choose(_protocols, requested);
    }

    /// <remarks>
    /// This method reads the feature directly. HttpContext.WebSockets would keep the handshake objects in memory until
    /// the connection ends.
    /// </remarks>
    static bool IsWebSocket(HttpContext context) =>
        context.Features.Get<IHttpWebSocketFeature>() is { IsWebSocketRequest: true }
        && !HttpProtocol.IsHttp10(context.Request.Protocol);

    /// <summary>Disables features of other middleware that would end or cache a long request.</summary>
    static void PrepareForLongRequest(HttpContext context)
    {
        context.Features.Get<IHttpRequestTimeoutFeature>()?.DisableTimeout();
        // If the app added output caching before routing, the caching middleware did not see the metadata of the
        // endpoint.
        if (context.Features.Get<IOutputCacheFeature>() is { } cache) cache.Context.AllowCacheStorage = false;
    }
}
