using System.Collections.Concurrent;
using Broadcast.Middleware.Delivery;
using Broadcast.Middleware.Diagnostics;
using Microsoft.AspNetCore.Http;

namespace Broadcast.Middleware.Http;

/// <summary>Answers a request that the server refuses. The answer states the problem and the fix.</summary>
/// <param name="eventStreamRetry">See <see cref="EndpointSettings.EventStreamRetry"/>.</param>
/// <param name="logger">The logger.</param>
/// <param name="metrics">The metrics.</param>
sealed class Refusal(byte[]? eventStreamRetry, BroadcastLogger logger, BroadcastMetrics metrics)
{
    const string SupportedVersion = "13";

    const string HowToConnect =
        "This URL accepts WebSocket connections and server-sent events. For a WebSocket, open ws:// or wss://. " +
        "For server-sent events, send a GET request with the header Accept: text/event-stream, for example: " +
        "curl -N -H 'Accept: text/event-stream' URL";

    // The value is in seconds. Clients should add a random delay, so that not all clients reconnect at the same time.
    public const string RetryAfter = "5";

    static readonly byte[] DefaultEventStreamRetry = EventStreamEncoder.EncodeRetry(TimeSpan.FromSeconds(5));

    // The texts of the warnings in the log. Each text is a constant, so the memory is bounded.
    readonly ConcurrentDictionary<string, bool> _warnings = new();
    readonly OriginWarnings _originWarnings = new(logger);

    /// <summary>
    /// Answers a request that is not a valid WebSocket handshake (RFC 6455, section 4.4, and RFC 9110, section
    /// 15.5.22).
    /// </summary>
    public Task WriteNotAWebSocketAsync(HttpContext context)
    {
        var (request, response) = (context.Request, context.Response);
        var version = request.Headers.SecWebSocketVersion;
        var isOtherVersion = version.Count > 0 && version != SupportedVersion;
        if (isOtherVersion) response.Headers.SecWebSocketVersion = SupportedVersion;
        var isBrokenHandshake = request.Headers.Upgrade.Count > 0 || request.Headers.SecWebSocketKey.Count > 0;
        if (LacksUpgrade(request.Headers))
        {
            return WriteAndWarnAsync(
                context, RefusalReason.BadRequest, StatusCodes.Status400BadRequest,
                "This WebSocket handshake has a Sec-WebSocket-Key, but not the headers Connection: Upgrade and " +
                "Upgrade: websocket (RFC 6455, section 4.1). If a proxy has removed the headers, configure the proxy " +
                "to use HTTP/1.1 and to keep the headers. Otherwise, send both headers.");
        }

        var isPlainRequest = !isOtherVersion && !isBrokenHandshake && !HttpMethods.IsConnect(request.Method);
        if (isPlainRequest && !HttpProtocol.IsHttp11(request.Protocol))
        {
            return WriteBadRequestAsync(
                StatusCodes.Status400BadRequest,
                HowToConnect + ". A WebSocket needs HTTP/1.1, or HTTP/2 with extended CONNECT (RFC 8441).");
        }

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
                : HowToConnect);

        Task WriteBadRequestAsync(int statusCode, string problem) =>
            WriteAsync(context, RefusalReason.BadRequest, statusCode, problem);
    }

    public Task WriteAsync(HttpContext context, RefusalReason reason)
    {
        var (statusCode, problem) = reason switch
        {
            RefusalReason.MaxConnectionsPerUser => (StatusCodes.Status429TooManyRequests,
                "You have reached the maximum number of connections per user (MaxConnectionsPerUser). " +
                "Close a connection first."),
            RefusalReason.MaxConnectionsPerAddress => (StatusCodes.Status429TooManyRequests,
                "The address of the client has its maximum number of connections (MaxConnectionsPerAddress). " +
                "Close a connection first. If all clients have the address of a proxy, add UseForwardedHeaders() " +
                "with ForwardedHeaders.XForwardedFor to the app."),
            RefusalReason.Failed => (StatusCodes.Status500InternalServerError, CloseReasons.Failed),
            RefusalReason.ShuttingDown => (StatusCodes.Status503ServiceUnavailable,
                CloseReasons.ShuttingDown + " Try again."),
            RefusalReason.MaxConnections => (StatusCodes.Status503ServiceUnavailable,
                "The server has its maximum number of connections (MaxConnections, or the limit of Kestrel for " +
                "upgraded connections). Try again later. To admit more connections, raise the limit or add a node."),
            RefusalReason.ClusterUnreachable => (StatusCodes.Status503ServiceUnavailable,
                "The server cannot reach its cluster. Try again later."),
            _ => (StatusCodes.Status503ServiceUnavailable, "The server accepts no more connections. Try again later."),
        };
        if (statusCode is StatusCodes.Status429TooManyRequests or StatusCodes.Status503ServiceUnavailable)
            context.Response.Headers.RetryAfter = RetryAfter;
        return reason is RefusalReason.MaxConnections or RefusalReason.MaxConnectionsPerAddress
            ? WriteAndWarnAsync(context, reason, statusCode, problem)
            : WriteAsync(context, reason, statusCode, problem);
    }

    /// <summary>
    /// Refuses the request of a page whose origin is not allowed. The server logs a warning for the first refusal of
    /// each origin.
    /// </summary>
    public Task WriteOriginAsync(HttpContext context)
    {
        _originWarnings.OnRefused(context.Request);
        return WriteAsync(
            context, RefusalReason.Origin, StatusCodes.Status403Forbidden,
            "Pages of this origin are not allowed to connect. " +
            "To allow them, add the origin to the option AllowedOrigins.");
    }

    /// <summary>
    /// Refuses a request because of a problem that the operator of the app must fix. Browsers do not show the problem.
    /// So the server logs a warning for the first refusal with this problem.
    /// </summary>
    /// <param name="context">The request.</param>
    /// <param name="reason">The reason for the metric.</param>
    /// <param name="statusCode">The status of the answer.</param>
    /// <param name="problem">The problem and the fix. The text must be a constant.</param>
    public Task WriteAndWarnAsync(HttpContext context, RefusalReason reason, int statusCode, string problem)
    {
        if (_warnings.TryAdd(problem, true)) logger.FirstHandshakeRefused(statusCode, problem);
        return WriteAsync(context, reason, statusCode, problem);
    }

    public Task WriteAsync(HttpContext context, RefusalReason reason, int statusCode, string problem)
    {
        logger.HandshakeRefused(statusCode, problem);
        metrics.Refused(reason);
        if (statusCode == StatusCodes.Status503ServiceUnavailable && EventStreamHandler.IsRequested(context.Request))
            return WriteCloseEventAsync(context.Response, problem);
        return WriteTextAsync(context.Response, statusCode, problem);
    }

    /// <summary>Writes an answer as plain text.</summary>
    public static Task WriteTextAsync(HttpResponse response, int statusCode, string problem)
    {
        response.StatusCode = statusCode;
        response.ContentType = "text/plain; charset=utf-8";
        return response.WriteAsync(problem + "\n");
    }

    /// <summary>
    /// Answers with status 200 and a close event instead of status 503, because a browser never reconnects after an
    /// HTTP error (HTML Standard, section 9.2.3).
    /// </summary>
    Task WriteCloseEventAsync(HttpResponse response, string problem)
    {
        EventStreamHandler.SetHeaders(response);
        var close = EventStreamEncoder.EncodeClose((int)CloseStatus.TryAgainLater, problem);
        return response.Body.WriteAsync((byte[])[.. eventStreamRetry ?? DefaultEventStreamRetry, .. close.Span])
            .AsTask();
    }

    /// <summary>Returns true if a proxy has probably removed headers from a handshake.</summary>
    static bool LacksUpgrade(IHeaderDictionary headers) => headers.SecWebSocketKey.Count > 0
        && (headers.Upgrade.Count == 0
            || !headers.Connection.ToString().Contains("upgrade", StringComparison.OrdinalIgnoreCase));

    /// <summary>
    /// Answers a request after the server refused the upgrade. A server refuses an upgrade when the server has too many
    /// upgraded connections.
    /// </summary>
    public Task WriteUpgradeRefusedAsync(HttpContext context)
    {
        context.Response.Clear();
        return WriteAsync(context, RefusalReason.MaxConnections);
    }
}
