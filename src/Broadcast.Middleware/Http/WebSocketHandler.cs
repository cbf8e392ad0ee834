using System.Net;
using System.Net.WebSockets;
using System.Runtime.ExceptionServices;
using Broadcast.Middleware.Connections;
using Broadcast.Middleware.Delivery;
using Broadcast.Middleware.Diagnostics;
using Broadcast.Middleware.Filters;
using Broadcast.Middleware.Protocols;
using Microsoft.AspNetCore.Http;

namespace Broadcast.Middleware.Http;

/// <summary>Serves WebSocket connections until they end, and lets clients reconnect.</summary>
sealed class WebSocketHandler(
    ConnectionManager connections,
    ConnectionLifecycle lifecycle,
    FilterPipeline pipeline,
    FilterActions filterActions,
    ProtocolActions protocolActions,
    Refusal refusal,
    EndpointSettings settings,
    TimeProvider time,
    BroadcastLogger logger,
    BroadcastMetrics metrics,
    BroadcastTracing tracing)
{
    /// <summary>The query parameter with the ID of the connection that a client wants to resume.</summary>
    public const string ConnectionIdKey = "awps_connection_id";

    const string TokenKey = "awps_reconnection_token";

    const string AfterKey = "after";

    const string RecoveryRefused = "The reconnection token is invalid or expired. Open a new connection.";

    readonly Func<Connection, ProtocolContext> _createContext =
        connection => new(connection, protocolActions, pipeline, filterActions)
        {
            EndpointState = connection.ProtocolState,
        };

    /// <summary>Returns true if the client wants to reconnect to an earlier connection.</summary>
    public static bool IsRecovery(HttpRequest request, ProtocolDescriptor protocol) =>
        protocol.IsReliable && request.Query.ContainsKey(ConnectionIdKey);

    /// <summary>
    /// Reads the position after which a raw client wants to continue. Returns false if the query parameter is not a
    /// position.
    /// </summary>
    public static bool TryGetReplay(HttpRequest request, ProtocolDescriptor protocol, out Replay replay)
    {
        replay = default;
        if (!protocol.IsRaw) return true;
        var count = QueryParameter.Find(request, AfterKey, out var after);
        if (count == 0 || (count == 1 && after.Length == 0)) return true;
        if (count > 1 || !Position.TryParse(after, out var position)) return false;
        replay = Replay.After(position);
        return true;
    }

    /// <summary>
    /// Returns true if the client can recover its connection, and if the app has extended the authentication of the
    /// connection.
    /// </summary>
    public bool IsExtended(IQueryCollection query, ConnectionRequest request) =>
        Find(query, request) is { IsExtended: true };

    /// <summary>Serves a new connection.</summary>
    public Task ServeAsync(
        HttpContext context, Connection connection, WebSocketTransport transport, ProtocolDescriptor protocol) =>
        RunAsync(context, connection, transport, protocol, isNew: true);

    /// <summary>
    /// Serves a client that reconnects. If the client cannot reconnect, the server completes the handshake and closes
    /// the WebSocket. Microsoft's Web PubSub clients treat an HTTP error as temporary and would try again.
    /// </summary>
    /// <param name="context">The request.</param>
    /// <param name="request">The properties of the request.</param>
    /// <param name="transport">The WebSocket.</param>
    /// <param name="protocol">The protocol of the client.</param>
    public async Task RecoverAsync(
        HttpContext context, ConnectionRequest request, WebSocketTransport transport, ProtocolDescriptor protocol)
    {
        // Check the token first, so that a request without a valid token does not count against the limits of
        // reconnects.
        if (Find(context.Request.Query, request) is not { } found)
        {
            await RefuseRecoveryAsync(context, request.UserId, request.RemoteAddress, transport, protocol);
            return;
        }

        var exceeded = connections.BeginRecovery(request);
        if (exceeded != RefusalReason.None)
        {
            await refusal.WriteAsync(context, exceeded);
            return;
        }

        Connection? connection;
        Task ending;
        try
        {
            if (!await TryAcceptAsync(context, transport, protocol)) return;
            (connection, ending) = await TryRecoverAsync(context, found, request, transport);
        }
        finally
        {
            connections.EndRecovery(request);
        }

        if (connection is not null) await RunAsync(context, connection, transport, protocol, isNew: false);
        else
        {
            // Run both tasks at the same time, so that the client does not wait for a slow disconnect filter.
            var refusing = RefuseRecoveryAsync(context, request.UserId, request.RemoteAddress, transport, protocol);
            await Task.WhenAll(ending, refusing);
        }
    }

    /// <summary>
    /// Returns the connection of the client. If the client cannot reconnect, the connection is null. If this method
    /// ends the earlier connection, the task <c>Ending</c> completes at the end of that connection. Otherwise, the task
    /// is already complete.
    /// </summary>
    async Task<(Connection? Connection, Task Ending)> TryRecoverAsync(
        HttpContext context, Connection connection, ConnectionRequest request, WebSocketTransport transport)
    {
        // After a successful claim, this request owns the connection.
        if (await connection.Session!.ClaimAsync(context.Request.Query[TokenKey].ToString()) is not { } token)
            return (null, Task.CompletedTask);
        if (await TryReattachAsync(context, connection, request, transport, token))
            return (connection, Task.CompletedTask);

        // The server no longer has all unacknowledged messages, so the client cannot reconnect.
        return (null, lifecycle.EndAsync(connection, null, null, null));
    }

    /// <summary>
    /// Completes the handshake, if it is not complete, and closes the WebSocket. If too many refused clients already
    /// wait, the method answers with an HTTP error, or aborts the request if the handshake is already complete.
    /// </summary>
    /// <param name="context">The request.</param>
    /// <param name="userId">The user ID. Null for an anonymous client or an unauthorized request.</param>
    /// <param name="address">The address of the client.</param>
    /// <param name="transport">The WebSocket.</param>
    /// <param name="protocol">The protocol of the client.</param>
    public async Task RefuseRecoveryAsync(
        HttpContext context,
        string? userId,
        IPAddress? address,
        WebSocketTransport transport,
        ProtocolDescriptor protocol)
    {
        var exceeded = connections.BeginRefusal(userId, address);
        if (exceeded != RefusalReason.None)
        {
            if (transport.IsAccepted) context.Abort();
            else await refusal.WriteAsync(context, exceeded);
            return;
        }

        try
        {
            if (!transport.IsAccepted && !await TryAcceptAsync(context, transport, protocol)) return;
            metrics.Refused(RefusalReason.Recovery);
            await transport.RefuseAsync(RecoveryRefused, settings.CloseTimeout, time);
        }
        finally
        {
            connections.EndRefusal(userId, address);
        }
    }

    async Task RunAsync(
        HttpContext context,
        Connection connection,
        WebSocketTransport transport,
        ProtocolDescriptor protocol,
        bool isNew)
    {
        connections.OnRequestStarted();
        try
        {
            if (isNew && !await TryAcceptAsync(context, connection, transport, protocol)) return;
            tracing.OnHandshake(connection);
            var receiver = new MessageReceiver(connection, transport.Reader, _createContext, time, logger, metrics);
            Exception? failure = null;
            try
            {
                if (isNew) await StartAsync(context, connection, transport, protocol, receiver);
                else OnRecovered(connection);
            }
            catch (Exception exception)
            {
                failure = exception;
            }

            var http2ConnectionId = HttpProtocol.IsHttp2(context.Request.Protocol) ? context.Connection.Id : null;
            if (transport.TryTakeOver())
            {
                // The connection stays open after the request, so the connection must not keep the execution context of
                // the request in memory.
                BackgroundWork.Post(() => ReceiveAsync(connection, transport, receiver, failure, null));
                return;
            }

            LongRequest.ExcludeFromMetrics(context);
            await ReceiveAsync(connection, transport, receiver, failure, http2ConnectionId);
        }
        finally
        {
            connections.OnRequestEnded();
        }
    }

    /// <summary>Receives the messages of a connection until it ends or another request takes it over.</summary>
    async Task ReceiveAsync(
        Connection connection,
        WebSocketTransport transport,
        MessageReceiver receiver,
        Exception? failure,
        string? http2ConnectionId)
    {
        WebSocketCloseStatus? closedByPeer = null;
        try
        {
            if (failure is not null) ExceptionDispatchInfo.Throw(failure);
            closedByPeer = await receiver.RunAsync();
            await connection.Writer.Closed;
        }
        catch (Exception exception)
        {
            // The client is gone or has violated the protocol.
            failure = exception;
            var isCloseFrameSent = connection.Writer.IsCloseFrameSent;
            connection.SetEndReason(isCloseFrameSent ? EndReason.ProtocolError : EndReason.Lost);
            if (isCloseFrameSent) await transport.LingerAsync();
        }
        finally
        {
            var isTakenOver = false;
            try
            {
                isTakenOver = MayReconnect(connection, closedByPeer, failure)
                    && await WaitForClientAsync(connection, transport, http2ConnectionId);
            }
            finally
            {
                try
                {
                    // After a reconnect, the connection belongs to another request.
                    if (!isTakenOver) await lifecycle.EndAsync(connection, transport, closedByPeer, failure);
                }
                finally
                {
                    try
                    {
                        await transport.EndAsync();
                    }
                    finally
                    {
                        transport.EndTakeover();
                    }
                }
            }
        }
    }

    /// <summary>
    /// Completes the handshake. If the server cannot upgrade the request, the method ends the connection and returns
    /// false.
    /// </summary>
    async Task<bool> TryAcceptAsync(
        HttpContext context, Connection connection, WebSocketTransport transport, ProtocolDescriptor protocol)
    {
        try
        {
            return await TryAcceptAsync(context, transport, protocol);
        }
        finally
        {
            if (!transport.IsAccepted) await lifecycle.EndAsync(connection, null, null, null);
        }
    }

    /// <summary>
    /// Completes the handshake. If the server cannot upgrade the request, the method answers with an error and returns
    /// false.
    /// </summary>
    async Task<bool> TryAcceptAsync(HttpContext context, WebSocketTransport transport, ProtocolDescriptor protocol)
    {
        var subprotocol = protocol.Protocol.Subprotocol;
        try
        {
            await transport.AcceptAsync(subprotocol, settings);
            return true;
        }
        catch (InvalidOperationException) when (!context.Response.HasStarted)
        {
            await refusal.WriteUpgradeRefusedAsync(context);
            return false;
        }
    }

    async Task StartAsync(
        HttpContext context,
        Connection connection,
        WebSocketTransport transport,
        ProtocolDescriptor protocol,
        MessageReceiver receiver)
    {
        lifecycle.LimitUnsentBytes(connection, transport.Socket);
        connection.Open(transport.CreateSink());
        // Read the replay here, because the caller would keep the replay in memory until the connection ends.
        TryGetReplay(context.Request, protocol, out var replay);
        await lifecycle.ConnectAsync(connection, context, replay, receiver);
    }

    void OnRecovered(Connection connection)
    {
        metrics.Recovered();
        logger.Recovered(connection.Id);
        connection.ProtocolState?.OnReconnected();
    }

    /// <summary>
    /// Returns the connection that a client wants to resume. Null if the client has no valid token for a connection.
    /// </summary>
    Connection? Find(IQueryCollection query, ConnectionRequest request)
    {
        if (query[ConnectionIdKey] is not [{ Length: > 0 } id]) return null;
        if (query[TokenKey] is not [{ Length: > 0 } token]) return null;
        if (connections.Find(id) is not { Session: { } session } connection) return null;
        if (connection.HomeGroup != request.HomeGroup || !connection.HasUserOf(request)) return null;
        return session.IsValid(token) ? connection : null;
    }

    /// <summary>
    /// Continues the connection on the new transport. Returns false if the server no longer has all unacknowledged
    /// messages.
    /// </summary>
    async Task<bool> TryReattachAsync(
        HttpContext context,
        Connection connection,
        ConnectionRequest request,
        WebSocketTransport transport,
        string token)
    {
        try
        {
            lifecycle.LimitUnsentBytes(connection, transport.Socket);
            var reattaching = connection.ReattachAsync(request, transport.CreateSink(), token);
            // Call OnReattached after ReattachAsync, because the revalidator must see the user of the new request.
            connections.OnReattached(connection, request);
            return await reattaching;
        }
        catch (Exception exception)
        {
            // The reconnect failed, for example because the socket is already closed. No other request owns the
            // connection, so end the connection here.
            await lifecycle.EndAsync(connection, transport, null, exception);
            throw;
        }
    }

    /// <summary>
    /// Returns true if the client may reconnect: neither side closed the connection with a close code, and the client
    /// did not violate the protocol.
    /// </summary>
    static bool MayReconnect(Connection connection, WebSocketCloseStatus? closedByPeer, Exception? failure) =>
        connection is { Session: not null, WasOpened: true, Writer.ClosingStatus: null }
        && closedByPeer is null or WebSocketCloseStatus.Empty
        && (failure is null || !connection.Writer.IsCloseFrameSent);

    /// <summary>
    /// Waits for the client to reconnect. Returns true if another request has taken over the connection.
    /// </summary>
    static async Task<bool> WaitForClientAsync(
        Connection connection, WebSocketTransport transport, string? http2ConnectionId)
    {
        // A client that sent a close frame without a code waits for the answer. Read input until the client has
        // received the answer.
        if (connection.Writer.IsCloseFrameSent) await transport.LingerAsync();
        connection.Detach();
        await connection.Writer.SuspendAsync();
        transport.DisposeWebSocket();
        await transport.EndAsync();
        return await connection.Session!.WaitAsync(http2ConnectionId);
    }
}
