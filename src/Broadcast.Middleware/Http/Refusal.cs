using Broadcast.Middleware.Delivery;
using Broadcast.Middleware.Diagnostics;
using Microsoft.AspNetCore.Http;

namespace Broadcast.Middleware.Http;

/// <summary>Answers a request that the server refuses. The answer states the problem and the fix.</summary>
sealed class Refusal(BroadcastLogger logger, BroadcastMetrics metrics)
{
    const string SupportedVersion = "13";

    // The value is in seconds. Clients should add a random delay, so that not all clients reconnect at the same time.
    const string RetryAfter = "5";

    /// <summary>
    /// Answers a request that is not a WebSocket handshake (RFC 6455, section 4.4, and RFC 9110, section 15.5.22).
    /// </summary>
    public Task WriteNotAWebSocketAsync(HttpContext context)
    {
        var (request, response) = (context.Request, context.Response);
        var version = request.Headers.SecWebSocketVersion;
        var isOtherVersion = version.Count > 0 && version != SupportedVersion;
        if (isOtherVersion) response.Headers.SecWebSocketVersion = SupportedVersion;
        var isBrokenHandshake = request.Headers.Upgrade.Count > 0 || request.Headers.SecWebSocketKey.Count > 0;
        if (!HttpProtocol.IsHttp11(request.Protocol) || (!isOtherVersion && isBrokenHandshake))
        {
            return WriteBadRequestAsync(
                StatusCodes.Status400BadRequest,
                "This is not a valid WebSocket handshake. Send a GET request with the headers Connection: Upgrade, " +
                "Upgrade: websocket, Sec-WebSocket-Version: 13, and a Sec-WebSocket-Key of 16 bytes in base64 " +
                "(RFC 6455, section 4.1). For HTTP/2, see RFC 8441.");
        }

        response.Headers.Upgrade = "websocket";
        response.Headers.Connection = "Upgrade";
        return WriteBadRequestAsync(
            StatusCodes.Status426UpgradeRequired,
            isOtherVersion
                ? "This server supports only version 13 of the WebSocket protocol. Set Sec-WebSocket-Version to 13."
                : "This URL accepts WebSocket connections. Open it with ws:// or wss://.");

        Task WriteBadRequestAsync(int statusCode, string problem) =>
            WriteAsync(context, RefusalReason.BadRequest, statusCode, problem);
    }

    public Task WriteAsync(HttpContext context, RefusalReason reason)
    {
        var (statusCode, problem) = reason switch
        {
            RefusalReason.Origin => (StatusCodes.Status403Forbidden,
                "Pages of this origin are not allowed to connect. " +
                "To allow them, add the origin to the option AllowedOrigins."),
            RefusalReason.MaxConnectionsPerUser => (StatusCodes.Status429TooManyRequests,
                "You have reached the maximum number of connections per user (MaxConnectionsPerUser). " +
                "Close a connection first."),
            RefusalReason.MaxConnectionsPerAddress => (StatusCodes.Status429TooManyRequests,
                "Your address has reached the maximum number of connections (MaxConnectionsPerAddress). " +
                "Close a connection first."),
            RefusalReason.Failed => (StatusCodes.Status500InternalServerError, CloseReasons.Failed),
            RefusalReason.ShuttingDown => (StatusCodes.Status503ServiceUnavailable,
                CloseReasons.ShuttingDown + " Try again."),
            RefusalReason.ClusterUnreachable => (StatusCodes.Status503ServiceUnavailable,
                "The server cannot reach its cluster. Try again later."),
            _ => (StatusCodes.Status503ServiceUnavailable, "The server accepts no more connections. Try again later."),
        };
        if (statusCode is StatusCodes.Status429TooManyRequests or StatusCodes.Status503ServiceUnavailable)
            context.Response.Headers.RetryAfter = RetryAfter;
        return WriteAsync(context, reason, statusCode, problem);
    }

    public Task WriteAsync(HttpContext context, RefusalReason reason, int statusCode, string problem)
    {
        logger.HandshakeRefused(statusCode, problem);
        metrics.Refused(reason);
        context.Response.StatusCode = statusCode;
        context.Response.ContentType = "text/plain; charset=utf-8";
        return context.Response.WriteAsync(problem + "\n");
    }

    /// <summary>
    /// Answers a request after the server refused the upgrade. A server refuses an upgrade when it has too many
    /// upgraded connections.
    /// </summary>
    public Task WriteUpgradeRefusedAsync(HttpContext context)
    {
        context.Response.Clear();
        return WriteAsync(context, RefusalReason.MaxConnections);
    }
}
