using System.Net.WebSockets;
using Microsoft.AspNetCore.Http;
using Microsoft.AspNetCore.Http.Features;
using Microsoft.Net.Http.Headers;

namespace Broadcast.Middleware;

/// <summary>One WebSocket of a request. A connection has one; one whose client came back has had several, one after the other.</summary>
sealed class WebSocketLine
{
    readonly HttpContext _context;
    readonly FrameInterposer? _interposer;

    WebSocketLine(HttpContext context, WebSocket webSocket, FrameInterposer? interposer) =>
        (_context, WebSocket, _interposer) = (context, webSocket, interposer);

    public WebSocket WebSocket { get; }

    /// <summary>The server's stream; null if the server brings WebSockets of its own.</summary>
    public Stream? Upgraded => _interposer?.Upgraded;

    /// <summary>What the peer has closed it with.</summary>
    public WebSocketCloseStatus CloseStatus =>
        _interposer is { Frames.EndsWithEmptyClose: true } ? WebSocketCloseStatus.Empty : WebSocket.CloseStatus ?? WebSocketCloseStatus.Empty;

    /// <summary>Answers the handshake.</summary>
    /// <exception cref="InvalidOperationException">The server takes no more upgraded connections.</exception>
    public static async Task<WebSocketLine> AcceptAsync(HttpContext context, BroadcastOptions options, KnownProtocol protocol)
    {
        var interposer = context.Features.Get<IHttpUpgradeFeature>() as FrameInterposer
            ?? context.Features.Get<IHttpExtendedConnectFeature>() as FrameInterposer;
        // Over our own stream the connection's writer watches the peer; other sockets have to do it themselves.
        var webSocket = await context.Features.GetRequiredFeature<IHttpWebSocketFeature>().AcceptAsync(new WebSocketAcceptContext
        {
            SubProtocol = protocol.Protocol.Subprotocol is { Length: > 0 } subprotocol ? subprotocol : null,
            KeepAliveInterval = interposer is null ? options.KeepAliveInterval : Timeout.InfiniteTimeSpan,
            KeepAliveTimeout = interposer is null ? options.KeepAliveTimeout : Timeout.InfiniteTimeSpan,
        });
        if (interposer is not null)
        {
            interposer.Release(context.Features);
            // What was for the handshake alone need not stay for as long as the connection: 0.2 KB.
            var headers = context.Request.Headers;
            headers.Remove(HeaderNames.SecWebSocketKey);
            headers.Remove(HeaderNames.SecWebSocketVersion);
            headers.Remove(HeaderNames.SecWebSocketExtensions);
        }

        return new(context, webSocket, interposer);
    }

    /// <summary>The line's other end belongs to this writer from now on.</summary>
    public Sink SinkFor(ConnectionWriter writer)
    {
        if (_interposer is null) return new WebSocketSink(WebSocket);
        _interposer.Frames!.Writer = writer;
        return new StreamSink(Upgraded!, _interposer.Frames, WebSocket, BroadcastEndpoint.OwnSocket(_context));
    }

    /// <summary>Undoes <see cref="SinkFor"/>, for a writer that did not take it.</summary>
    public void Release()
    {
        if (_interposer is not null) _interposer.Frames!.Writer = null;
    }

    /// <summary>Says that nothing will come of it, and gives the peer some time to answer.</summary>
    public async Task RefuseAsync(string reason, TimeSpan timeout, TimeProvider time)
    {
        using var timeIsUp = new CancellationTokenSource(timeout, time);
        try
        {
            await WebSocket.CloseAsync(WebSocketCloseStatus.PolicyViolation, reason, timeIsUp.Token);
            WebSocket.Dispose();
        }
        catch (Exception)
        {
            // It is gone, or violates the protocol, or does not answer.
            _context.Abort();
        }
    }
}
