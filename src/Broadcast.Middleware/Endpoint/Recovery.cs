using System.Net.WebSockets;
using Microsoft.AspNetCore.Http;

namespace Broadcast.Middleware;

/// <summary>A client that has lost its line comes back to its connection on another: see <see cref="Session"/>.</summary>
static class Recovery
{
    const string ConnectionId = "awps_connection_id";
    const string Token = "awps_reconnection_token";

    public const string Refused = "There is no such connection to come back to, not for this user, or not any more: connect afresh.";

    public static bool IsRequested(HttpRequest request, KnownProtocol protocol) => protocol.IsReliable && request.Query.ContainsKey(ConnectionId);

    /// <summary>The connection, which belongs to the caller from now on, and its new token; null if it is not to be had.</summary>
    public static async Task<(Connection? Connection, string? Token)> ClaimAsync(Broadcaster broadcaster, HttpContext context, string group)
    {
        var query = context.Request.Query;
        if (query[ConnectionId] is not [{ Length: > 0 } id] || query[Token] is not [{ Length: > 0 } token]) return default;
        if (broadcaster.Connections.Find(id) is not Connection { Session: { } session } connection) return default;
        if (connection.HomeGroup != group || connection.UserId != broadcaster.UserIdOf(context)) return default;
        return await session.ClaimAsync(token) is { } newToken ? (connection, newToken) : default;
    }

    /// <summary>Whether the client may come back: nobody has said goodbye, and nobody has done what is forbidden.</summary>
    public static bool MayWait(Connection connection, WebSocketCloseStatus? closedByPeer, Exception? failure) =>
        connection is { Session: not null, IsAttached: true, Writer.ClosingStatus: null }
        && closedByPeer is null or WebSocketCloseStatus.Empty
        && (failure is null || !connection.Writer.CloseFrameSent);

    /// <summary>The connection's line is lost. True if another request has it now; false if it is to end.</summary>
    public static async Task<bool> WaitAsync(Connection connection, WebSocketLine line)
    {
        // Whoever has closed without a code waits for the answer.
        if (connection.Writer.CloseFrameSent && line.Upgraded is { } stream) await Linger.ReadToEndAsync(stream);
        connection.LeaveLine();
        await connection.Writer.SuspendAsync();
        line.WebSocket.Dispose();
        return await connection.Session!.WaitAsync();
    }
}
