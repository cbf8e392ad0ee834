using System.Net.Sockets;
using System.Net.WebSockets;
using Microsoft.AspNetCore.Builder;
using Microsoft.AspNetCore.Connections.Features;
using Microsoft.AspNetCore.Http;
using Microsoft.AspNetCore.Http.Features;
using Microsoft.AspNetCore.Http.Timeouts;
using Microsoft.AspNetCore.WebSockets;
using Microsoft.Extensions.DependencyInjection;
using Microsoft.Extensions.Logging;
using Microsoft.Extensions.Options;
using Microsoft.Net.Http.Headers;

namespace Broadcast.Middleware;

/// <summary>A request's way: checked, admitted, upgraded, served until it ends, and removed, whatever happened.</summary>
sealed class BroadcastEndpoint
{
    const int MostUnsent = 4096;

    readonly Broadcaster _broadcaster;
    readonly FilterPipeline _pipeline;
    readonly GroupNameTemplate _groupName;
    readonly OriginCheck _origins;
    readonly WebSocketMiddleware _handshake;

    public BroadcastEndpoint(Broadcaster broadcaster, FilterPipeline pipeline, GroupNameTemplate groupName, IServiceProvider services)
    {
        _broadcaster = broadcaster;
        _pipeline = pipeline;
        _groupName = groupName;
        _origins = new OriginCheck(broadcaster.Options);
        _handshake = new WebSocketMiddleware(AdmitAsync, Options.Create(new WebSocketOptions()), services.GetRequiredService<ILoggerFactory>());
    }

    public Task InvokeAsync(HttpContext context)
    {
        var upgrade = context.Features.Get<IHttpUpgradeFeature>();
        var connect = context.Features.Get<IHttpExtendedConnectFeature>();

        // A server that upgrades requests is given our own handshake, the framework's, in place of one that UseWebSockets() may have
        // prepared. Other servers, such as test servers, bring their WebSockets along.
        if (upgrade is not { IsUpgradableRequest: true } && connect is not { IsExtendedConnect: true }) return AdmitAsync(context);
        FrameInterposer.Interpose(context.Features, upgrade, connect);
        return _handshake.Invoke(context);
    }

    Task AdmitAsync(HttpContext context)
    {
        if (!_origins.Allows(context.Request)) return Refusal.WriteAsync(context, _broadcaster, RefusalReason.Origin);
        // Not HttpContext.WebSockets, which would keep the handshake for as long as the connection lasts.
        var isWebSocket = context.Features.Get<IHttpWebSocketFeature>() is { IsWebSocketRequest: true } && !HttpProtocol.IsHttp10(context.Request.Protocol);
        if (!isWebSocket && !EventStream.IsRequested(context.Request)) return Refusal.NotAWebSocket(context, _broadcaster);
        var group = _groupName.NameFor(context.Request.RouteValues);
        if (GroupName.Problem(group) is { } problem)
            return Refusal.WriteAsync(context, _broadcaster, RefusalReason.BadRequest, StatusCodes.Status400BadRequest, problem);
        var protocol = isWebSocket ? KnownProtocol.Choose(_broadcaster.Protocols, context.Request) : null;
        if (_broadcaster.Admit(context, group, out var refusal, isEventStream: !isWebSocket, protocol) is not { } connection) return Refusal.WriteAsync(context, _broadcaster, refusal);

        context.Features.Get<IHttpRequestTimeoutFeature>()?.DisableTimeout();
        return isWebSocket ? ServeAsync(context, connection) : ServeEventsAsync(context, connection);
    }

    async Task ServeAsync(HttpContext context, Connection connection)
    {
        WebSocket? webSocket = null;
        WebSocketCloseStatus? closedByPeer = null;
        Exception? failure = null;
        var upgraded = default(Stream);
        try
        {
            (webSocket, upgraded) = await AcceptAsync(context, connection);
            await ConnectAsync(connection, default);
            closedByPeer = await new MessageReceiver(_broadcaster, _pipeline.OnMessage, connection, webSocket, waitsWithoutBuffer: upgraded is not null).RunAsync();
            await connection.Writer.Closed;
        }
        catch (InvalidOperationException) when (webSocket is null && !context.Response.HasStarted)
        {
            // The server has a limit of its own for upgraded connections.
            context.Response.Clear();
            await Refusal.WriteAsync(context, _broadcaster, RefusalReason.MaxConnections);
        }
        catch (Exception exception) when (webSocket is not null)
        {
            // A peer that is gone, or one that violated the protocol, which the framework has told it.
            failure = exception;
            connection.EndsBecause(connection.Writer.CloseFrameSent ? EndReason.ProtocolError : EndReason.Lost);
            if (upgraded is not null && connection.Writer.CloseFrameSent) await Linger.ReadToEndAsync(upgraded);
        }
        finally
        {
            Remove(connection);
            if (webSocket is not null && !connection.Writer.CloseFrameSent) connection.AbortNow();
            await connection.Writer.DetachAsync();
            // One that has failed is aborted already, and disposing of it would abort the request, which can overtake the close frame.
            if (failure is null || upgraded is null) webSocket?.Dispose();
            connection.End();
            if (connection.IsAttached) await DisconnectAsync(connection, new(_broadcaster, connection, closedByPeer ?? connection.Writer.ClosingStatus, failure));
        }
    }

    async Task<(WebSocket, Stream?)> AcceptAsync(HttpContext context, Connection connection)
    {
        var interposer = context.Features.Get<IHttpUpgradeFeature>() as FrameInterposer
            ?? context.Features.Get<IHttpExtendedConnectFeature>() as FrameInterposer;
        if (interposer is not null) interposer.Writer = connection.Writer;
        // Over our own stream the connection's writer watches the peer; other sockets have to do it themselves.
        var webSocket = await context.Features.GetRequiredFeature<IHttpWebSocketFeature>().AcceptAsync(new WebSocketAcceptContext
        {
            SubProtocol = connection.Protocol?.Protocol.Subprotocol,
            KeepAliveInterval = interposer is null ? _broadcaster.Options.KeepAliveInterval : Timeout.InfiniteTimeSpan,
            KeepAliveTimeout = interposer is null ? _broadcaster.Options.KeepAliveTimeout : Timeout.InfiniteTimeSpan,
        });
        if (interposer is null)
        {
            connection.Open(webSocket, new WebSocketSink(webSocket));
            return (webSocket, null);
        }

        interposer.Release(context.Features);
        // What was for the handshake alone need not stay for as long as the connection: 0.2 KB.
        var headers = context.Request.Headers;
        headers.Remove(HeaderNames.SecWebSocketKey);
        headers.Remove(HeaderNames.SecWebSocketVersion);
        headers.Remove(HeaderNames.SecWebSocketExtensions);
        Freshen(connection, context);
        connection.Open(webSocket, new StreamSink(interposer.Upgraded!, interposer.Frames!, webSocket, OwnSocket(context)));
        return (webSocket, interposer.Upgraded);
    }

    async Task ServeEventsAsync(HttpContext context, Connection connection)
    {
        try
        {
            var sink = await EventStream.BeginAsync(context);
            Freshen(connection, context);
            connection.Open(null, sink);
            await ConnectAsync(connection, EventStream.ReplayFor(context.Request));
            (connection.IsBusy, connection.HasSpoken) = (false, true);
            await using var aborted = context.RequestAborted.UnsafeRegister(static sink => ((EventStreamSink)sink!).OnAborted(), sink);
            await sink.Ended;
            connection.EndsBecause(EndReason.ClosedByPeer);
        }
        finally
        {
            Remove(connection);
            await connection.Writer.DetachAsync();
            connection.End();
            if (connection.IsAttached) await DisconnectAsync(connection, new(_broadcaster, connection, connection.Writer.ClosingStatus, null));
        }
    }

    async Task ConnectAsync(Connection connection, Replay replay)
    {
        try
        {
            var connecting = _pipeline.OnConnect(new(_broadcaster, connection, replay));
            if (!connecting.IsCompleted) await HoldAsync(connection, connecting);
            else await connecting;
            if (connection.IsAttached) _broadcaster.Log.Connected(connection.Id);
            else connection.Close(EndReason.ClosedByApp, WebSocketCloseStatus.PolicyViolation, "The connection was refused.");
        }
        catch (Exception exception)
        {
            connection.CloseFailed(exception);
        }
    }

    /// <summary>A filter keeps it waiting, outside the group of everyone, in which the others get their heartbeats.</summary>
    async Task HoldAsync(Connection connection, Task connecting)
    {
        _broadcaster.Heartbeat.Begin(connection.Writer);
        try
        {
            await connecting;
        }
        finally
        {
            _broadcaster.Heartbeat.End(connection.Writer);
        }
    }

    async Task DisconnectAsync(Connection connection, DisconnectContext context)
    {
        _broadcaster.Log.Disconnected(connection.Id, BroadcastMetrics.Tag(connection.EndReason));
        try
        {
            await _pipeline.OnDisconnect(context);
        }
        catch (Exception exception)
        {
            _broadcaster.Log.FilterFailed(connection.Id, exception);
        }
    }

    /// <summary>Where a slow reader is to have the newest, little waits in the system.</summary>
    void Freshen(Connection connection, HttpContext context)
    {
        if (_broadcaster.Groups.SettingsOf(connection.HomeGroup).WhenSlow != SlowConsumer.Disconnect && OwnSocket(context) is { } socket)
            Tcp.LimitUnsent(socket, MostUnsent);
    }

    /// <summary>Over HTTP/2 others share the socket.</summary>
    public static Socket? OwnSocket(HttpContext context) =>
        HttpProtocol.IsHttp11(context.Request.Protocol) ? context.Features.Get<IConnectionSocketFeature>()?.Socket : null;

    void Remove(Connection connection)
    {
        try
        {
            _broadcaster.Remove(connection);
        }
        catch (Exception exception)
        {
            _broadcaster.Log.RegistryFailed(connection.Id, exception);
        }
    }
}
