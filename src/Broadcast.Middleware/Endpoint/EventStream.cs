using Microsoft.AspNetCore.Http;
using Microsoft.AspNetCore.Http.Features;
using Microsoft.AspNetCore.Server.Kestrel.Core.Features;

namespace Broadcast.Middleware;

/// <summary>The request and the response of a client that takes server-sent events (HTML, section 9.2).</summary>
static class EventStream
{
    const string MediaType = "text/event-stream";

    public static bool IsRequested(HttpRequest request) =>
        HttpMethods.IsGet(request.Method)
        && request.Headers.SecWebSocketKey.Count == 0
        && request.GetTypedHeaders().Accept.Any(static accepted => accepted.MediaType.Equals(MediaType, StringComparison.OrdinalIgnoreCase) && accepted.Quality is not 0);

    /// <summary>
    /// What the client has missed, by the id of the last event it had. What is no id of ours cannot be recovered from either, and is
    /// answered likewise: a browser would not understand a refusal, and asks with what it was given.
    /// </summary>
    public static Replay ReplayFor(HttpRequest request)
    {
        string? lastEventId = request.Headers["Last-Event-ID"];
        if (string.IsNullOrEmpty(lastEventId)) return default;
        return Replay.After(Position.TryParse(lastEventId, out var position) ? position : default);
    }

    /// <summary>Sends the headers; the body stays open.</summary>
    public static async Task<EventStreamSink> BeginAsync(HttpContext context)
    {
        var response = context.Response;
        response.ContentType = MediaType;
        // The second is for proxies that would wait for more before they pass something on.
        response.Headers.CacheControl = "no-cache, no-store";
        response.Headers["X-Accel-Buffering"] = "no";
        context.Features.Get<IHttpResponseBodyFeature>()?.DisableBuffering();
        // A reader may be slow here; whether it is too slow, SendTimeout says.
        if (context.Features.Get<IHttpMinResponseDataRateFeature>() is { } rate && !HttpProtocol.IsHttp2(context.Request.Protocol)) rate.MinDataRate = null;
        await response.Body.FlushAsync();
        return new EventStreamSink(response, BroadcastEndpoint.OwnSocket(context));
    }
}
