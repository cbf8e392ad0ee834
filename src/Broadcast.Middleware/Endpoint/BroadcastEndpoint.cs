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
        var protocol = isWebSocket ? KnownProtocol.Choose(_broadcaster.Protocols, context.Request) : KnownProtocol.Raw;
        if (isWebSocket && !_broadcaster.IsStopping && Recovery.IsRequested(context.Request, protocol))
        {
            context.Features.Get<IHttpRequestTimeoutFeature>()?.DisableTimeout();
            return RecoverAsync(context, group, protocol);
        }

        if (_broadcaster.Admit(context, group, out var refusal, isEventStream: !isWebSocket, protocol) is not { } connection) return Refusal.WriteAsync(context, _broadcaster, refusal);

        context.Features.Get<IHttpRequestTimeoutFeature>()?.DisableTimeout();
        return isWebSocket ? ServeAsync(context, connection) : ServeEventsAsync(context, connection);
    }

    /// <summary>Serves a connection on a line: the request's own, or the one that is given.</summary>
    async Task ServeAsync(HttpContext context, Connection connection, WebSocketLine? line = null)
    {
        WebSocketCloseStatus? closedByPeer = null;
        Exception? failure = null;
        try
        {
            if (line is null)
            {
                line = await WebSocketLine.AcceptAsync(context, _broadcaster.Options, connection.Protocol);
                Freshen(connection, context);
                connection.Open(line.WebSocket, line.SinkFor(connection.Writer));
                await ConnectAsync(connection, default);
            }
            else
            {
                // Here, where it ends whatever happens.
                _broadcaster.Metrics.Recovered();
                _broadcaster.Log.Recovered(connection.Id);
                // Answers are not sent again, and news of states are no more than that.
                connection.GroupStates?.Restart();
            }

            closedByPeer = await new MessageReceiver(_broadcaster, _pipeline.OnMessage, connection, line).RunAsync();
            await connection.Writer.Closed;
        }
        catch (InvalidOperationException) when (line is null && !context.Response.HasStarted)
        {
            await RefuseUpgradeAsync(context);
        }
        catch (Exception exception) when (line is not null)
        {
            // A peer that is gone, or one that violated the protocol, which the framework has told it.
            failure = exception;
            connection.EndsBecause(connection.Writer.CloseFrameSent ? EndReason.ProtocolError : EndReason.Lost);
            if (line.Upgraded is not null && connection.Writer.CloseFrameSent) await Linger.ReadToEndAsync(line.Upgraded);
        }
        finally
        {
            var goesOn = false;
            try
            {
                goesOn = line is not null && Recovery.MayWait(connection, closedByPeer, failure) && await Recovery.WaitAsync(connection, line);
            }
            finally
            {
                // Else it belongs to another request.
                if (!goesOn) await EndAsync(connection, line, closedByPeer, failure);
            }
        }
    }

    async Task EndAsync(Connection connection, WebSocketLine? line, WebSocketCloseStatus? closedByPeer, Exception? failure)
    {
        Remove(connection);
        if (line is not null && !connection.Writer.CloseFrameSent) connection.AbortNow();
        await connection.Writer.DetachAsync();
        // One that has failed is aborted already, and disposing of it would abort the request, which can overtake the close frame.
        if (failure is null || line?.Upgraded is null) line?.WebSocket.Dispose();
        connection.End();
        if (connection.IsAttached) await DisconnectAsync(connection, new(_broadcaster, connection, closedByPeer ?? connection.Writer.ClosingStatus, failure));
    }

    /// <summary>
    /// A client that has lost its line wants to go on. If it cannot, it is told by the close code: what comes before the handshake's answer it
    /// takes for bad luck, and tries again.
    /// </summary>
    async Task RecoverAsync(HttpContext context, string group, KnownProtocol protocol)
    {
        WebSocketLine line;
        try
        {
            line = await WebSocketLine.AcceptAsync(context, _broadcaster.Options, protocol);
        }
        catch (InvalidOperationException) when (!context.Response.HasStarted)
        {
            await RefuseUpgradeAsync(context);
            return;
        }

        var ending = Task.CompletedTask;
        var (connection, token) = await Recovery.ClaimAsync(_broadcaster, context, group);
        if (connection is not null)
        {
            if (await TryResumeAsync(context, connection, line, token!))
            {
                await ServeAsync(context, connection, line);
                return;
            }

            // Something that it lacks is gone.
            line.Release();
            ending = EndAsync(connection, null, null, null);
        }

        _broadcaster.Metrics.Refused(RefusalReason.Recovery);
        // At the same time: a filter that sees the connection go may take long, and the client is not to wait for it.
        await Task.WhenAll(ending, line.RefuseAsync(Recovery.Refused, _broadcaster.Options.CloseTimeout, _broadcaster.Time));
    }

    /// <summary>False if there is something that the client lacks and cannot be sent any more.</summary>
    async Task<bool> TryResumeAsync(HttpContext context, Connection connection, WebSocketLine line, string token)
    {
        try
        {
            Freshen(connection, context);
            return await connection.ResumeAsync(context, line.WebSocket, line.SinkFor(connection.Writer), token);
        }
        catch (Exception exception)
        {
            // Such as a logger that throws. Nobody else has the connection.
            await EndAsync(connection, line, null, exception);
            throw;
        }
    }

    /// <summary>The server has a limit of its own for upgraded connections.</summary>
    Task RefuseUpgradeAsync(HttpContext context)
    {
        context.Response.Clear();
        return Refusal.WriteAsync(context, _broadcaster, RefusalReason.MaxConnections);
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
