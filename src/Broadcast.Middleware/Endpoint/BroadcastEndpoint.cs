using System.Net.WebSockets;
using Microsoft.AspNetCore.Builder;
using Microsoft.AspNetCore.Http;
using Microsoft.AspNetCore.Http.Features;
using Microsoft.AspNetCore.Http.Timeouts;
using Microsoft.AspNetCore.WebSockets;
using Microsoft.Extensions.DependencyInjection;
using Microsoft.Extensions.Logging;
using Microsoft.Extensions.Options;

namespace Broadcast.Middleware;

/// <summary>A request's way: checked, admitted, upgraded, served until it ends, and removed, whatever happened.</summary>
sealed class BroadcastEndpoint
{
    readonly Broadcaster _broadcaster;
    readonly FilterPipeline _pipeline;
    readonly GroupNameTemplate _groupName;
    readonly WebSocketMiddleware _handshake;

    public BroadcastEndpoint(Broadcaster broadcaster, FilterPipeline pipeline, GroupNameTemplate groupName, IServiceProvider services)
    {
        _broadcaster = broadcaster;
        _pipeline = pipeline;
        _groupName = groupName;
        _handshake = new WebSocketMiddleware(AdmitAsync, Options.Create(new WebSocketOptions()), services.GetRequiredService<ILoggerFactory>());
    }

    public Task InvokeAsync(HttpContext context)
    {
        var upgrade = context.Features.Get<IHttpUpgradeFeature>();
        var connect = context.Features.Get<IHttpExtendedConnectFeature>();

        // A server that upgrades requests is given our own handshake, the framework's, in place of one that UseWebSockets() may have
        // prepared. Other servers, such as test servers, bring their WebSockets along.
        if (upgrade is not { IsUpgradableRequest: true } && connect is not { IsExtendedConnect: true }) return AdmitAsync(context);
        var interposer = new FrameInterposer(upgrade, connect);
        if (upgrade is not null) context.Features.Set<IHttpUpgradeFeature>(interposer);
        if (connect is not null) context.Features.Set<IHttpExtendedConnectFeature>(interposer);
        context.Features.Set<IHttpWebSocketFeature>(null);
        return _handshake.Invoke(context);
    }

    async Task AdmitAsync(HttpContext context)
    {
        if (!context.WebSockets.IsWebSocketRequest)
        {
            await Refusal.NotAWebSocket(context, _broadcaster.Log);
            return;
        }

        var group = _groupName.NameFor(context.Request.RouteValues);
        if (GroupName.Problem(group) is { } problem)
        {
            await Refusal.WriteAsync(context, StatusCodes.Status400BadRequest, problem, _broadcaster.Log);
            return;
        }

        context.Features.Get<IHttpRequestTimeoutFeature>()?.DisableTimeout();
        if (_broadcaster.Admit(context, group) is not { } connection)
        {
            await Refusal.WriteAsync(
                context, StatusCodes.Status503ServiceUnavailable, "No more connections are taken here: try again later.", _broadcaster.Log);
            return;
        }

        await ServeAsync(context, connection);
    }

    async Task ServeAsync(HttpContext context, Connection connection)
    {
        WebSocket? webSocket = null;
        WebSocketCloseStatus? closedByPeer = null;
        Exception? failure = null;
        var connect = new ConnectContext(_broadcaster, connection);
        var upgraded = default(Stream);
        try
        {
            (webSocket, upgraded) = await AcceptAsync(context, connection);
            await ConnectAsync(connect, connection);
            var receiver = new MessageReceiver(_broadcaster, _pipeline.OnMessage, connection, webSocket, waitsWithoutBuffer: upgraded is not null);
            closedByPeer = await receiver.RunAsync();
            await connection.Writer.Closed;
        }
        catch (Exception exception) when (webSocket is not null)
        {
            // A peer that is gone, or one that violated the protocol, which the framework has told it.
            failure = exception;
            _broadcaster.Log.ConnectionFailed(connection.Id, exception.Message);
            if (upgraded is not null && connection.Writer.CloseFrameSent) await Linger.ReadToEndAsync(upgraded);
        }
        finally
        {
            Remove(connection);
            if (webSocket is not null && !connection.Writer.CloseFrameSent) connection.AbortNow();
            await connection.Writer.DetachAsync();
            webSocket?.Dispose();
            if (connect.IsAttached) await DisconnectAsync(new(_broadcaster, connection, connection.ClosingStatus ?? closedByPeer, failure));
            connection.End();
        }
    }

    async Task<(WebSocket, Stream?)> AcceptAsync(HttpContext context, Connection connection)
    {
        var interposer = context.Features.Get<IHttpUpgradeFeature>() as FrameInterposer
            ?? context.Features.Get<IHttpExtendedConnectFeature>() as FrameInterposer;
        interposer?.Writer = connection.Writer;
        var webSocket = await context.WebSockets.AcceptWebSocketAsync(new WebSocketAcceptContext
        {
            KeepAliveInterval = _broadcaster.Options.KeepAliveInterval,
            KeepAliveTimeout = _broadcaster.Options.KeepAliveTimeout,
        });
        Sink sink = interposer is null ? new WebSocketSink(webSocket) : new StreamSink(interposer.Upgraded!, webSocket);
        connection.Open(webSocket, sink);
        return (webSocket, interposer?.Upgraded);
    }

    async Task ConnectAsync(ConnectContext context, Connection connection)
    {
        try
        {
            await _pipeline.OnConnect(context);
            if (context.IsAttached) _broadcaster.Log.Connected(connection.Id);
            else connection.Close(WebSocketCloseStatus.PolicyViolation, "The connection was refused.");
        }
        catch (Exception exception)
        {
            _broadcaster.Log.FilterFailed(connection.Id, exception);
            connection.Close(WebSocketCloseStatus.InternalServerError, null);
        }
    }

    async Task DisconnectAsync(DisconnectContext context)
    {
        _broadcaster.Log.Disconnected(context.Connection.Id);
        try
        {
            await _pipeline.OnDisconnect(context);
        }
        catch (Exception exception)
        {
            _broadcaster.Log.FilterFailed(context.Connection.Id, exception);
        }
    }

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
