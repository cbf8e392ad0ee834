using System.Net.WebSockets;
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
    BroadcastMetrics metrics)
{
    /// <summary>The query parameter with the ID of the connection that a client wants to resume.</summary>
    public const string ConnectionIdKey = "awps_connection_id";

    const string TokenKey = "awps_reconnection_token";

    const string RecoveryRefused = "The reconnection token is invalid or expired. Open a new connection.";

    readonly Func<Connection, ProtocolContext> _createContext =
        connection => new(connection, protocolActions, pipeline, filterActions);

    /// <summary>Returns true if the client wants to reconnect to an earlier connection.</summary>
    public static bool IsRecovery(HttpRequest request, ProtocolDescriptor protocol) =>
        protocol.IsReliable && request.Query.ContainsKey(ConnectionIdKey);

    /// <summary>Serves a new connection.</summary>
    public Task ServeAsync(
        HttpContext context, Connection connection, WebSocketTransport transport, ProtocolDescriptor protocol) =>
        RunAsync(context, connection, transport, protocol, isNew: true);

    /// <summary>
    /// Serves a client that reconnects. If the client cannot reconnect, the server completes the handshake and sends a
    /// close code. After an HTTP error, Microsoft's Web PubSub clients would try again, because they treat the error as
    /// temporary.
    /// </summary>
    /// <param name="context">The request.</param>
    /// <param name="request">The properties of the request.</param>
    /// <param name="transport">The WebSocket.</param>
    /// <param name="protocol">The protocol of the client.</param>
    public async Task RecoverAsync(
        HttpContext context, ConnectionRequest request, WebSocketTransport transport, ProtocolDescriptor protocol)
    {
        var exceeded = connections.BeginRecovery(request);
        if (exceeded != RefusalReason.None)
        {
            await refusal.WriteAsync(context, exceeded);
            return;
        }

        Connection? connection;
        try
        {
            connection = await TryRecoverAsync(context, request, transport, protocol);
        }
        finally
        {
            connections.EndRecovery(request);
        }

        if (connection is not null) await RunAsync(context, connection, transport, protocol, isNew: false);
    }

    /// <summary>
    /// Refuses the recovery of a client that the app does not authorize. The server looks neither at the user nor at
    /// the token.
    /// </summary>
    public async Task RefuseRecoveryAsync(
        HttpContext context, WebSocketTransport transport, ProtocolDescriptor protocol)
    {
        if (!await TryAcceptAsync(context, transport, protocol)) return;
        metrics.Refused(RefusalReason.Recovery);
        await transport.RefuseAsync(RecoveryRefused, settings.CloseTimeout, time);
    }

    /// <summary>Returns null after the server has refused the client.</summary>
    async Task<Connection?> TryRecoverAsync(
        HttpContext context, ConnectionRequest request, WebSocketTransport transport, ProtocolDescriptor protocol)
    {
        if (!await TryAcceptAsync(context, transport, protocol)) return null;
        var ending = Task.CompletedTask;
        var (connection, token) = await ClaimAsync(context.Request.Query, request);
        if (connection is not null)
        {
            if (await TryReattachAsync(context, connection, request, transport, token!)) return connection;

            // The server no longer has all unacknowledged messages, so the client cannot reconnect.
            transport.ReleaseWriter();
            ending = lifecycle.EndAsync(connection, null, null, null);
        }

        metrics.Refused(RefusalReason.Recovery);
        // Run both tasks at the same time, so that the client does not wait for a slow disconnect filter.
        await Task.WhenAll(ending, transport.RefuseAsync(RecoveryRefused, settings.CloseTimeout, time));
        return null;
    }

    async Task RunAsync(
        HttpContext context,
        Connection connection,
        WebSocketTransport transport,
        ProtocolDescriptor protocol,
        bool isNew)
    {
        // This method runs until the connection ends. ServeAsync is not async, because an async caller would keep a
        // second state machine in memory during this time.
        if (isNew && !await TryAcceptAsync(context, connection, transport, protocol)) return;
        WebSocketCloseStatus? closedByPeer = null;
        Exception? failure = null;
        try
        {
            var receiver = new MessageReceiver(
                connection, transport, protocol.Protocol, _createContext, time, logger, metrics);
            if (isNew) await StartAsync(context, connection, transport, receiver);
            else OnRecovered(connection);
            closedByPeer = await receiver.RunAsync();
            await connection.Writer.Closed;
        }
        catch (Exception exception)
        {
            // The client is gone, or the WebSocket of .NET has closed the connection after a protocol violation.
            failure = exception;
            var isCloseFrameSent = connection.Writer.IsCloseFrameSent;
            connection.SetEndReason(isCloseFrameSent ? EndReason.ProtocolError : EndReason.Lost);
            if (isCloseFrameSent && transport.Upgraded is { } stream) await Linger.ReadToEndAsync(stream);
        }
        finally
        {
            var isTakenOver = false;
            try
            {
                isTakenOver = MayReconnect(connection, closedByPeer, failure)
                    && await WaitForClientAsync(context, connection, transport);
            }
            finally
            {
                // After a takeover, the connection belongs to another request.
                if (!isTakenOver) await lifecycle.EndAsync(connection, transport, closedByPeer, failure);
            }
        }
    }

    /// <summary>
    /// Completes the handshake. If the server cannot upgrade the request, the method refuses the request and returns
    /// false.
    /// </summary>
    async Task<bool> TryAcceptAsync(HttpContext context, WebSocketTransport transport, ProtocolDescriptor protocol)
    {
        try
        {
            await transport.AcceptAsync(
                protocol.Protocol.Subprotocol, settings.KeepAliveInterval, settings.KeepAliveTimeout);
        }
        catch (InvalidOperationException) when (!context.Response.HasStarted)
        {
            await refusal.WriteUpgradeRefusedAsync(context);
        }

        return transport.IsAccepted;
    }

    /// <summary>Completes the handshake of a new connection. On failure, the method ends the connection.</summary>
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

    async Task StartAsync(
        HttpContext context, Connection connection, WebSocketTransport transport, MessageReceiver receiver)
    {
        lifecycle.LimitUnsentBytes(connection, context);
        connection.Open(transport.CreateSink(connection.Writer));
        await lifecycle.ConnectAsync(connection, context, default, receiver);
    }

    void OnRecovered(Connection connection)
    {
        metrics.Recovered();
        logger.Recovered(connection.Id);
        connection.ProtocolState?.OnReconnected();
    }

    /// <summary>
    /// Claims the connection that a client wants to resume. Afterwards, the caller owns the connection.
    /// </summary>
    /// <returns>The connection and its new token. Both are null if the client cannot reconnect.</returns>
    async Task<(Connection? Connection, string? Token)> ClaimAsync(IQueryCollection query, ConnectionRequest request)
    {
        if (query[ConnectionIdKey] is not [{ Length: > 0 } id]) return default;
        if (query[TokenKey] is not [{ Length: > 0 } token]) return default;
        if (connections.Find(id) is not { Session: { } session } connection) return default;
        if (connection.HomeGroup != request.HomeGroup || !connection.HasUserOf(request)) return default;
        return await session.ClaimAsync(token) is { } newToken ? (connection, newToken) : default;
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
            lifecycle.LimitUnsentBytes(connection, context);
            var reattaching = connection.ReattachAsync(request, transport.CreateSink(connection.Writer), token);
            // Call OnReattached after ReattachAsync, because the revalidator must see the user of the new request.
            connections.OnReattached(connection, request);
            return await reattaching;
        }
        catch (Exception exception)
        {
            // For example, the socket is already closed. No other request owns the connection, so end the connection
            // here.
            await lifecycle.EndAsync(connection, transport, null, exception);
            throw;
        }
    }

    /// <summary>
    /// Returns true if neither side closed the connection and the client did not violate the protocol.
    /// </summary>
    static bool MayReconnect(Connection connection, WebSocketCloseStatus? closedByPeer, Exception? failure) =>
        connection is { Session: not null, WasOpened: true, Writer.ClosingStatus: null }
        && closedByPeer is null or WebSocketCloseStatus.Empty
        && (failure is null || !connection.Writer.IsCloseFrameSent);

    /// <summary>
    /// Waits for the client to reconnect. Returns true if another request has taken over the connection.
    /// </summary>
    static async Task<bool> WaitForClientAsync(HttpContext context, Connection connection, WebSocketTransport transport)
    {
        // A client that sent a close frame without a code waits for the answer. Read input until the client has
        // received the answer.
        if (connection.Writer.IsCloseFrameSent && transport.Upgraded is { } stream) await Linger.ReadToEndAsync(stream);
        connection.Detach();
        await connection.Writer.SuspendAsync();
        transport.WebSocket.Dispose();
        var http2ConnectionId = HttpProtocol.IsHttp2(context.Request.Protocol) ? context.Connection.Id : null;
        return await connection.Session!.WaitAsync(http2ConnectionId);
    }
}
