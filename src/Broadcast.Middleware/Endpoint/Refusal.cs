using Microsoft.AspNetCore.Http;

namespace Broadcast.Middleware;

/// <summary>Answers a request that does not become a connection, with what is wrong and how to mend it.</summary>
static class Refusal
{
    const string SupportedVersion = "13";

    /// <summary>RFC 6455, section 4.4, and RFC 9110, section 15.5.22.</summary>
    public static Task NotAWebSocket(HttpContext context, BroadcastLog log)
    {
        var request = context.Request;
        if (request.Headers.SecWebSocketVersion is { Count: > 0 } version && version != SupportedVersion)
        {
            context.Response.Headers.SecWebSocketVersion = SupportedVersion;
            return WriteAsync(context, StatusCodes.Status426UpgradeRequired, "This server speaks version 13 of the WebSocket protocol.", log);
        }

        if (!HttpProtocol.IsHttp11(request.Protocol) || request.Headers.Upgrade.Count > 0 || request.Headers.SecWebSocketKey.Count > 0)
        {
            return WriteAsync(
                context, StatusCodes.Status400BadRequest,
                "This is no WebSocket handshake as RFC 6455, section 4.1, has it (over HTTP/2: RFC 8441): a GET with the headers " +
                "Connection: Upgrade, Upgrade: websocket, Sec-WebSocket-Version: 13 and a Sec-WebSocket-Key of 16 bytes in base64.", log);
        }

        context.Response.Headers.Upgrade = "websocket";
        context.Response.Headers.Connection = "Upgrade";
        return WriteAsync(context, StatusCodes.Status426UpgradeRequired, "This URL takes WebSocket connections: open it with ws:// or wss://.", log);
    }

    public static Task WriteAsync(HttpContext context, int statusCode, string problem, BroadcastLog log)
    {
        log.HandshakeRefused(statusCode, problem);
        context.Response.StatusCode = statusCode;
        context.Response.ContentType = "text/plain; charset=utf-8";
        return context.Response.WriteAsync(problem + "\n");
    }
}
