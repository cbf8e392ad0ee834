using Broadcast.Middleware.Connections;
using Broadcast.Middleware.Delivery;
using Broadcast.Middleware.Diagnostics;
using Broadcast.Middleware.Messages;
using Broadcast.Middleware.Protocols;
using Microsoft.AspNetCore.Builder;
using Microsoft.AspNetCore.Http;
using Microsoft.AspNetCore.Http.Features;
using Microsoft.AspNetCore.Http.Timeouts;
using Microsoft.AspNetCore.WebSockets;
using Microsoft.Extensions.Logging;
using Microsoft.Extensions.Options;

namespace Broadcast.Middleware.Http;

/// <summary>Checks a request, admits the client as a connection, and calls the handler for the transport.</summary>
sealed class BroadcastEndpoint
{
    const string NoOrigin =
        "A page of another site sent this request without an Origin header. To allow the page, open the URL with " +
        "EventSource, and add the origin of the page to the option AllowedOrigins.";

    readonly GroupNameTemplate _groupName;
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

    public BroadcastEndpoint(
        GroupNameTemplate groupName,
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
    }

    public Task InvokeAsync(HttpContext context)
    {
        var upgrade = context.Features.Get<IHttpUpgradeFeature>();
        var connect = context.Features.Get<IHttpExtendedConnectFeature>();

        // If the server can upgrade requests, run the handshake of ASP.NET Core on our own stream. This handshake
        // replaces the handshake of UseWebSockets(), if the app uses that method. Other servers, such as test servers,
        // have their own WebSocket implementation.
        var canUpgrade = upgrade is { IsUpgradableRequest: true } || connect is { IsExtendedConnect: true };
        if (!canUpgrade) return AdmitAsync(context);
        FrameInterposer.Interpose(context.Features, upgrade, connect);
        return _handshake.Invoke(context);
    }

    Task AdmitAsync(HttpContext context)
    {
        if (!_origins.Allows(context.Request)) return _refusal.WriteAsync(context, RefusalReason.Origin);
        // Read the feature. HttpContext.WebSockets would keep the handshake objects in memory until the connection
        // ends.
        var isWebSocket = context.Features.Get<IHttpWebSocketFeature>() is { IsWebSocketRequest: true }
            && !HttpProtocol.IsHttp10(context.Request.Protocol);
        if (!isWebSocket && !EventStreamHandler.IsRequested(context.Request))
            return _refusal.WriteNotAWebSocketAsync(context);
        var group = _groupName.GetName(context.Request.RouteValues);
        if (GroupName.Problem(group) is { } problem)
            return _refusal.WriteAsync(context, RefusalReason.BadRequest, StatusCodes.Status400BadRequest, problem);
        return isWebSocket ? AdmitWebSocketAsync(context, group) : AdmitEventStreamAsync(context, group);
    }

    Task AdmitWebSocketAsync(HttpContext context, string group)
    {
        var protocol = ChooseProtocol(context.Request);
        var transport = new WebSocketTransport(context);
        var request = _requests.Create(context, transport, group, _groupName.HasParameters, protocol, _settings);
        if (!_connections.IsStopping && WebSocketHandler.IsRecovery(context.Request, protocol))
        {
            DisableRequestTimeout(context);
            return _webSockets.RecoverAsync(context, request, transport, protocol);
        }

        if (!CanJoin(group)) return _refusal.WriteAsync(context, RefusalReason.ClusterUnreachable);
        if (_connections.Admit(request, out var reason) is not { } connection)
            return _refusal.WriteAsync(context, reason);
        DisableRequestTimeout(context);
        return _webSockets.ServeAsync(context, connection, transport, protocol);
    }

    Task AdmitEventStreamAsync(HttpContext context, string group)
    {
        if (!_origins.AllowsWithoutOrigin(context.Request))
            return _refusal.WriteAsync(context, RefusalReason.Origin, StatusCodes.Status403Forbidden, NoOrigin);
        if (!CanJoin(group)) return _refusal.WriteAsync(context, RefusalReason.ClusterUnreachable);
        var transport = new EventStreamTransport(context);
        var request = _requests.Create(
            context, transport, group, _groupName.HasParameters, EventStreamFormat.Instance, _settings);
        if (_connections.Admit(request, out var reason) is not { } connection)
            return _refusal.WriteAsync(context, reason);
        DisableRequestTimeout(context);
        return _eventStreams.ServeAsync(context, connection);
    }

    /// <summary>
    /// False if the joins of a new connection would fail, because the cluster is unreachable. The refusal comes before
    /// the handshake, so that the client does not see an open connection that closes a few seconds later.
    /// </summary>
    bool CanJoin(string group) => _groups.CanAcquire(group) && _groups.CanAcquire(GroupName.Everyone);

    ProtocolDescriptor ChooseProtocol(HttpRequest request) =>
        _protocols.Count == 0 || request.Headers.SecWebSocketProtocol.Count == 0
            ? ProtocolDescriptor.Raw
            : ProtocolDescriptor.Choose(_protocols, request.Headers.GetCommaSeparatedValues("Sec-WebSocket-Protocol"));

    static void DisableRequestTimeout(HttpContext context) =>
        context.Features.Get<IHttpRequestTimeoutFeature>()?.DisableTimeout();
}
