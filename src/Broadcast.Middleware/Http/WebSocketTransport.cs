using System.Net.WebSockets;
using Broadcast.Middleware.Connections;
using Broadcast.Middleware.Delivery;
using Microsoft.AspNetCore.Http;
using Microsoft.AspNetCore.Http.Features;
using Microsoft.Net.Http.Headers;

namespace Broadcast.Middleware.Http;

/// <summary>The WebSocket of a request.</summary>
sealed class WebSocketTransport(HttpContext context) : ConnectionTransport
{
    WebSocket? _webSocket;
    FrameStream? _frames;

    public override CancellationToken ClientGone => context.RequestAborted;

    /// <summary>The WebSocket. Valid after <see cref="AcceptAsync"/>.</summary>
    public WebSocket WebSocket => _webSocket!;

    public bool IsAccepted => _webSocket is not null;

    /// <summary>The upgraded stream. Null if the server brings its own WebSockets.</summary>
    public Stream? Upgraded => _frames?.Inner;

    /// <summary>The close code of the client. It is 1005 for a close frame without a code.</summary>
    public WebSocketCloseStatus CloseStatus => _frames is { EndsWithEmptyClose: true }
        ? WebSocketCloseStatus.Empty
        : WebSocket.CloseStatus ?? WebSocketCloseStatus.Empty;

    /// <summary>Answers the handshake.</summary>
    /// <param name="subprotocol">The subprotocol of the answer. Empty if the answer names none.</param>
    /// <param name="keepAliveInterval">See <see cref="BroadcastOptions.KeepAliveInterval"/>.</param>
    /// <param name="keepAliveTimeout">See <see cref="BroadcastOptions.KeepAliveTimeout"/>.</param>
    /// <exception cref="InvalidOperationException">The server accepts no more upgraded connections.</exception>
    public async Task AcceptAsync(string subprotocol, TimeSpan keepAliveInterval, TimeSpan keepAliveTimeout)
    {
        var interposer = context.Features.Get<IHttpUpgradeFeature>() as FrameInterposer
            ?? context.Features.Get<IHttpExtendedConnectFeature>() as FrameInterposer;
        // With our own stream, the connection writer watches the client. Other WebSockets must watch the client
        // themselves.
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
            // Only the handshake needs these headers. They would use 0.2 KB as long as the connection lives, so remove
            // them.
            var headers = context.Request.Headers;
            headers.Remove(HeaderNames.SecWebSocketKey);
            headers.Remove(HeaderNames.SecWebSocketVersion);
            headers.Remove(HeaderNames.SecWebSocketExtensions);
        }

        // Set the fields last. If something above throws, the transport does not count as accepted.
        (_webSocket, _frames) = (webSocket, interposer?.Frames);
    }

    /// <summary>Creates the sink of a connection. The writer then sends all frames.</summary>
    public Sink CreateSink(ConnectionWriter writer)
    {
        if (_frames is null) return new WebSocketSink(WebSocket);
        _frames.Writer = writer;
        return new StreamSink(_frames.Inner, _frames, WebSocket, ClientSocket.Find(context));
    }

    /// <summary>Reverts <see cref="CreateSink"/> for a writer that did not take the sink.</summary>
    public void ReleaseWriter()
    {
        _frames?.Writer = null;
    }

    /// <summary>
    /// Closes a WebSocket that does not become a connection, and gives the client some time to answer.
    /// </summary>
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
