using Microsoft.AspNetCore.Http;

namespace Broadcast.Middleware;

/// <summary>Answers a request that does not become a connection, with what is wrong and how to mend it.</summary>
static class Refusal
{
    const string SupportedVersion = "13";

    // In seconds. Clients that are refused together do not come back together if they add some chance of their own.
    const string RetryAfter = "5";

    /// <summary>RFC 6455, section 4.4, and RFC 9110, section 15.5.22.</summary>
    public static Task NotAWebSocket(HttpContext context, Broadcaster broadcaster)
    {
        var (request, response) = (context.Request, context.Response);
        var isOtherVersion = request.Headers.SecWebSocketVersion is { Count: > 0 } version && version != SupportedVersion;
        if (isOtherVersion) response.Headers.SecWebSocketVersion = SupportedVersion;
        if (!HttpProtocol.IsHttp11(request.Protocol)
            || (!isOtherVersion && (request.Headers.Upgrade.Count > 0 || request.Headers.SecWebSocketKey.Count > 0)))
        {
            return BadRequest(
                StatusCodes.Status400BadRequest,
                "This is no WebSocket handshake as RFC 6455, section 4.1, has it (over HTTP/2: RFC 8441): a GET with the headers " +
                "Connection: Upgrade, Upgrade: websocket, Sec-WebSocket-Version: 13 and a Sec-WebSocket-Key of 16 bytes in base64.");
        }

        response.Headers.Upgrade = "websocket";
        response.Headers.Connection = "Upgrade";
        return BadRequest(
            StatusCodes.Status426UpgradeRequired,
            isOtherVersion
                ? "This server speaks version 13 of the WebSocket protocol."
                : "This URL takes WebSocket connections: open it with ws:// or wss://.");

        Task BadRequest(int statusCode, string problem) => WriteAsync(context, broadcaster, RefusalReason.BadRequest, statusCode, problem);
    }

    public static Task WriteAsync(HttpContext context, Broadcaster broadcaster, RefusalReason reason)
    {
        var (statusCode, problem) = reason switch
        {
            RefusalReason.Origin => (StatusCodes.Status403Forbidden,
                "Pages of this origin may not connect: add it to the option AllowedOrigins if they should."),
            RefusalReason.MaxConnectionsPerUser => (StatusCodes.Status429TooManyRequests,
                "You have as many connections open as one user may: close one (option MaxConnectionsPerUser)."),
            RefusalReason.MaxConnectionsPerAddress => (StatusCodes.Status429TooManyRequests,
                "As many connections are open from your address as may be: close one (option MaxConnectionsPerAddress)."),
            RefusalReason.Failed => (StatusCodes.Status500InternalServerError, Connection.FailedReason),
            RefusalReason.ShuttingDown => (StatusCodes.Status503ServiceUnavailable, "The server is shutting down: try again."),
            _ => (StatusCodes.Status503ServiceUnavailable, "No more connections are taken here: try again later."),
        };
        if (statusCode is StatusCodes.Status429TooManyRequests or StatusCodes.Status503ServiceUnavailable) context.Response.Headers.RetryAfter = RetryAfter;
        return WriteAsync(context, broadcaster, reason, statusCode, problem);
    }

    public static Task WriteAsync(HttpContext context, Broadcaster broadcaster, RefusalReason reason, int statusCode, string problem)
    {
        broadcaster.Log.HandshakeRefused(statusCode, problem);
        broadcaster.Metrics.Refused(reason);
        context.Response.StatusCode = statusCode;
        context.Response.ContentType = "text/plain; charset=utf-8";
        return context.Response.WriteAsync(problem + "\n");
    }
}
