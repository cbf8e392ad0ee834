using Broadcast.Middleware.Connections;
using Broadcast.Middleware.Delivery;
using Broadcast.Middleware.Diagnostics;
using Microsoft.AspNetCore.Http;
using Microsoft.AspNetCore.Http.Features;
using Microsoft.AspNetCore.Server.Kestrel.Core.Features;

namespace Broadcast.Middleware.Http;

/// <summary>Serves clients with server-sent events (HTML Standard, section 9.2).</summary>
sealed class EventStreamHandler(ConnectionManager connections, ConnectionLifecycle lifecycle)
{
    const string MediaType = "text/event-stream";

    /// <summary>Returns true if the client accepts server-sent events and did not send a WebSocket handshake.</summary>
    public static bool IsRequested(HttpRequest request) =>
        HttpMethods.IsGet(request.Method)
        && request.Headers.SecWebSocketKey.Count == 0
        && request.GetTypedHeaders().Accept.Any(static accepted =>
            accepted.MediaType.Equals(MediaType, StringComparison.OrdinalIgnoreCase) && accepted.Quality is not 0);

    /// <summary>Returns true if the last event that the client received asks the client not to reconnect.</summary>
    public static bool IsFinished(HttpRequest request) => GetLastEventId(request) == EventStreamEncoder.FinalId;

    public async Task ServeAsync(HttpContext context, Connection connection)
    {
        connections.OnRequestStarted();
        try
        {
            var sink = CreateSink(context, connection);
            lifecycle.LimitUnsentBytes(connection, ClientSocket.Find(context));
            connection.Open(sink);
            await lifecycle.ConnectAsync(connection, context, GetReplay(context.Request), null);
            // A request that a connect filter has refused is short, so the metrics include the request.
            if (connection.WasOpened) LongRequest.ExcludeFromMetrics(context);
            connection.ReceiveGate.OnReceivesNothing();
            await using var aborted = context.RequestAborted.UnsafeRegister(
                static sink => ((EventStreamSink)sink!).OnAborted(), sink);
            await sink.Ended;
            connection.SetEndReason(EndReason.ClosedByPeer);
        }
        finally
        {
            await lifecycle.EndAsync(connection, null, null, null);
            connections.OnRequestEnded();
        }
    }

    /// <summary>
    /// Returns the replay of the messages that the client has missed. The client sends the ID of the last event that
    /// the client received.
    /// </summary>
    /// <remarks>
    /// The server treats an invalid ID like an expired ID. If the server refused the request instead, a browser would
    /// send the same ID again.
    /// </remarks>
    static Replay GetReplay(HttpRequest request)
    {
        var lastEventId = GetLastEventId(request);
        if (string.IsNullOrEmpty(lastEventId)) return default;
        return Replay.After(Position.TryParse(lastEventId, out var position) ? position : default);
    }

    public static void SetHeaders(HttpResponse response)
    {
        response.ContentType = MediaType;
        // A proxy that compresses the response may hold back events. "no-transform" forbids the compression.
        response.Headers.CacheControl = "no-cache, no-store, no-transform";
        // This header tells proxies such as nginx not to buffer the response.
        response.Headers["X-Accel-Buffering"] = "no";
    }

    static string? GetLastEventId(HttpRequest request)
    {
        string? lastEventId = request.Headers["Last-Event-ID"];
        // Some polyfills of EventSource cannot set headers. These polyfills send the ID in the query string.
        return string.IsNullOrEmpty(lastEventId) ? request.Query["lastEventId"] : lastEventId;
    }

    /// <summary>
    /// Sets the headers of the response and creates the sink. The server sends the headers with the first event, so
    /// that a connect filter can still reject the client with an HTTP status.
    /// </summary>
    static EventStreamSink CreateSink(HttpContext context, Connection connection)
    {
        SetHeaders(context.Response);
        context.Features.Get<IHttpResponseBodyFeature>()?.DisableBuffering();
        // The minimum data rate of the server would end the response to a slow client, so remove this rate. SendTimeout
        // limits how long a write may stall.
        var isHttp2 = HttpProtocol.IsHttp2(context.Request.Protocol);
        if (!isHttp2 && context.Features.Get<IHttpMinResponseDataRateFeature>() is { } rate) rate.MinDataRate = null;
        return new EventStreamSink(
            context.Response,
            ClientSocket.Find(context),
            () => connection.EndReason == EndReason.ClosedByApp,
            connection.Settings.EventStreamRetry);
    }
}
