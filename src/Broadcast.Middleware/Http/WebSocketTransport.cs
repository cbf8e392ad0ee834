using System.Net.WebSockets;
using Broadcast.Middleware.Connections;
using Broadcast.Middleware.Delivery;
using Microsoft.AspNetCore.Http;
using Microsoft.AspNetCore.Http.Features;
using Microsoft.Net.Http.Headers;

namespace Broadcast.Middleware.Http;

/// <summary>The transport of a WebSocket client: the WebSocket of the HTTP request.</summary>
sealed class WebSocketTransport(HttpContext context) : ConnectionTransport
{
    WebSocket? _webSocket;
    FrameStream? _frames;

    public override CancellationToken ClientGone => context.RequestAborted;

    /// <summary>The WebSocket. Valid after <see cref="AcceptAsync"/>.</summary>
    public WebSocket WebSocket => _webSocket!;

    public bool IsAccepted => _webSocket is not null;

    /// <summary>The upgraded stream. Null if the server has its own WebSocket implementation.</summary>
    public Stream? Upgraded => _frames?.Inner;

    /// <summary>The close code of the client. The value is 1005 if the close frame contains no code.</summary>
    public WebSocketCloseStatus CloseStatus => _frames is { EndsWithEmptyClose: true }
        ? WebSocketCloseStatus.Empty
        : WebSocket.CloseStatus ?? WebSocketCloseStatus.Empty;

    /// <summary>Answers the handshake.</summary>
    /// <param name="subprotocol">The subprotocol of the answer. Empty for an answer without a subprotocol.</param>
    /// <param name="keepAliveInterval">See <see cref="BroadcastOptions.KeepAliveInterval"/>.</param>
    /// <param name="keepAliveTimeout">See <see cref="BroadcastOptions.KeepAliveTimeout"/>.</param>
    /// <exception cref="InvalidOperationException">The server accepts no more upgraded connections.</exception>
    public async Task AcceptAsync(string subprotocol, TimeSpan keepAliveInterval, TimeSpan keepAliveTimeout)
    {
        var interposer = context.Features.Get<IHttpUpgradeFeature>() as FrameInterposer
            ?? context.Features.Get<IHttpExtendedConnectFeature>() as FrameInterposer;
        // With a FrameStream, the connection writer sends the keep-alive pings. Other WebSocket implementations must
        // send their own pings.
        var acceptContext = new WebSocketAcceptContext
        {
            SubProtocol = subprotocol.Length > 0 ? subprotocol : null,
            KeepAliveInterval = interposer is null ? keepAliveInterval : Timeout.InfiniteTimeSpan,
            KeepAliveTimeout = interposer is null ? keepAliveTimeout : Timeout.InfiniteTimeSpan,
        };
        var webSocket = await context.Features.GetRequiredFeature<IHttpWebSocketFeature>().AcceptAsync(acceptContext);
        if (interposer is not null)
        {
            interposer.Release(context.Features);
            // Remove the headers that only the handshake needs. These headers would use 0.2 KB until the connection
            // ends.
            var headers = context.Request.Headers;
            headers.Remove(HeaderNames.SecWebSocketKey);
            headers.Remove(HeaderNames.SecWebSocketVersion);
            headers.Remove(HeaderNames.SecWebSocketExtensions);
        }

        // Set the fields last. If a call above throws an exception, IsAccepted stays false.
        (_webSocket, _frames) = (webSocket, interposer?.Frames);
    }

    /// <summary>Creates the sink of a connection. Afterwards, the writer sends all frames of the connection.</summary>
    public Sink CreateSink(ConnectionWriter writer)
    {
        if (_frames is null) return new WebSocketSink(WebSocket);
        _frames.Writer = writer;
        return new StreamSink(_frames.Inner, _frames, WebSocket, ClientSocket.Find(context));
    }

    /// <summary>Reverts <see cref="CreateSink"/> for a writer that does not use the sink.</summary>
    public void ReleaseWriter()
    {
        _frames?.Writer = null;
    }

    /// <summary>Closes the WebSocket of a refused client, and gives the client time to answer.</summary>
    public async Task RefuseAsync(string reason, TimeSpan timeout, TimeProvider time)
    {
        using var timeoutSource = new CancellationTokenSource(timeout, time);
        try
        {
            await WebSocket.CloseAsync(WebSocketCloseStatus.PolicyViolation, reason, timeoutSource.Token);
            WebSocket.Dispose();
        }
        catch (Exception)
        {
            // The client is gone, violates the protocol, or does not answer.
            context.Abort();
        }
    }

    protected override void AbortCore()
    {
        _webSocket?.Abort();
        context.Abort();
    }
}
