using System.Diagnostics;
using System.Net.Sockets;
using System.Net.WebSockets;
using Broadcast.Middleware.Connections;
using Broadcast.Middleware.Delivery;
using Broadcast.Middleware.Diagnostics;
using Broadcast.Middleware.Filters;
using Broadcast.Middleware.Transports;
using Microsoft.AspNetCore.Http;

namespace Broadcast.Middleware.Http;

/// <summary>
/// Starts and ends connections. The class runs the connect and disconnect filters, removes connections, and sets TCP
/// options.
/// </summary>
sealed class ConnectionLifecycle(
    FilterPipeline pipeline,
    FilterActions filterActions,
    ConnectionManager connections,
    GroupDirectory groups,
    Heartbeat heartbeat,
    UserIds userIds,
    BroadcastLogger logger)
{
    const int MaxUnsentBytes = 4096;

    /// <summary>Runs the connect filters. The last step adds the connection to its home group.</summary>
    /// <param name="connection">The connection.</param>
    /// <param name="httpContext">The request.</param>
    /// <param name="replay">The history that the client requests.</param>
    /// <param name="receiver">Receives messages for the filters. Null for an event stream.</param>
    public async Task ConnectAsync(
        Connection connection, HttpContext httpContext, Replay replay, IFirstMessageReceiver? receiver)
    {
        try
        {
            var connecting = pipeline.OnConnectAsync(
                new(connection, filterActions, httpContext, replay, connections, userIds, receiver));
            if (connecting.IsCompleted) await connecting;
            else await KeepAliveAsync(connection, connecting);
            if (connection.WasOpened) logger.Connected(connection.Id);
            else connection.Close(EndReason.ClosedByApp, WebSocketCloseStatus.PolicyViolation, CloseReasons.Rejected);
        }
        catch (Exception exception)
        {
            connection.CloseFailed(exception);
        }
    }

    /// <summary>Removes the connection, releases its transport, and runs the disconnect filters.</summary>
    /// <param name="connection">The connection.</param>
    /// <param name="transport">
    /// The WebSocket. Null without an open WebSocket, for example for an event stream or after a failed handshake.
    /// </param>
    /// <param name="closedByPeer">The close code of the client. Null if the client did not close first.</param>
    /// <param name="failure">The error that ended the connection. Null without an error.</param>
    public async Task EndAsync(
        Connection connection, WebSocketTransport? transport, WebSocketCloseStatus? closedByPeer, Exception? failure)
    {
        // The end of a connection does not belong to the activity of its handshake, which may be hours old.
        Activity.Current = null;
        connections.Remove(connection);
        if (transport is not null && !connection.Writer.IsCloseFrameSent) connection.AbortNow();
        await connection.Writer.DetachAsync();
        transport?.DisposeWebSocket();
        connection.End();
        if (!connection.WasOpened) return;
        await DisconnectAsync(connection, closedByPeer ?? connection.Writer.ClosingStatus, failure);
    }

    /// <summary>
    /// Limits the unsent bytes that the operating system buffers for the client. A slow client cannot skip messages
    /// that are already in this buffer. If the server disconnects slow clients instead, the method has no effect.
    /// </summary>
    public void LimitUnsentBytes(Connection connection, Socket? socket)
    {
        var whenSlow = groups.GetSettings(connection.HomeGroup).WhenSlow ?? connection.Settings.SlowConsumer;
        if (whenSlow == SlowConsumer.Disconnect) return;
        if (socket is not null) TcpOptions.LimitUnsentBytes(socket, MaxUnsentBytes);
    }

    /// <summary>
    /// Sends heartbeats to the connection while a connect filter waits. Normally, heartbeats arrive through the group
    /// of all connections, but the connection has not joined this group yet.
    /// </summary>
    async Task KeepAliveAsync(Connection connection, Task connecting)
    {
        heartbeat.Add(connection.Writer);
        try
        {
            await connecting;
        }
        finally
        {
            heartbeat.Remove(connection.Writer);
        }
    }

    async Task DisconnectAsync(Connection connection, WebSocketCloseStatus? status, Exception? failure)
    {
        logger.Disconnected(connection.Id, BroadcastMetrics.Tag(connection.EndReason));
        try
        {
            await pipeline.OnDisconnectAsync(new(connection, filterActions, status, failure));
        }
        catch (Exception exception)
        {
            logger.FilterFailed(connection.Id, exception);
        }
    }
}
