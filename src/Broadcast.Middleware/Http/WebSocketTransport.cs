using System.Net.Sockets;
using System.Net.WebSockets;
using Broadcast.Middleware.Connections;
using Broadcast.Middleware.Delivery;
using Broadcast.Middleware.Logs;
using Broadcast.Middleware.Transports;
using Microsoft.AspNetCore.Http;
using Microsoft.AspNetCore.Http.Features;
using Microsoft.Net.Http.Headers;

namespace Broadcast.Middleware.Http;

/// <summary>
/// The transport of a WebSocket client: the WebSocket of the HTTP request. If the server can hand over the connection,
/// the transport outlives the request.
/// </summary>
sealed class WebSocketTransport(HttpContext context) : ConnectionTransport
{
    // Null after the handover. The server reuses the objects of the request.
    HttpContext? _context = context;
    HandoverConnection? _handover =
        HttpProtocol.IsHttp11(context.Request.Protocol) ? HandoverConnection.Find(context.Features) : null;

    HandedOverConnection? _connection;
    bool _hasEnded;
    WebSocket? _webSocket;
    FrameStream? _frames;
    FrameCompression? _compression;

    public override CancellationToken ClientGone =>
        _connection?.Closed ?? _handover?.ConnectionClosed ?? _context!.RequestAborted;

    /// <summary>The WebSocket. Valid after <see cref="AcceptAsync"/>.</summary>
    public WebSocket WebSocket => _webSocket!;

    public bool IsAccepted => _webSocket is not null;

    /// <summary>
    /// The TCP socket. Null if other requests share the socket, or if the server does not provide the socket.
    /// </summary>
    public Socket? Socket => _connection is null ? ClientSocket.Find(_context!) : _connection.Socket;

    /// <summary>The upgraded stream. Null if the server has its own WebSocket implementation.</summary>
    public Stream? Upgraded => _frames?.Inner;

    /// <summary>The close code of the client. The value is 1005 if the close frame contains no code.</summary>
    public WebSocketCloseStatus CloseStatus => _frames is { EndsWithEmptyClose: true }
        ? WebSocketCloseStatus.Empty
        : WebSocket.CloseStatus ?? WebSocketCloseStatus.Empty;

    /// <summary>Answers the handshake.</summary>
    /// <param name="subprotocol">The subprotocol of the answer. Empty for an answer without a subprotocol.</param>
    /// <param name="settings">The settings of the endpoint.</param>
    /// <exception cref="InvalidOperationException">The server accepts no more upgraded connections.</exception>
    public async Task AcceptAsync(string subprotocol, EndpointSettings settings)
    {
        var context = _context!;
        var interposer = context.Features.Get<IHttpUpgradeFeature>() as FrameInterposer
            ?? context.Features.Get<IHttpExtendedConnectFeature>() as FrameInterposer;
        // With a FrameStream, the connection writer sends the keep-alive pings. Other WebSocket implementations must
        // send their own pings.
        var acceptContext = new WebSocketAcceptContext
        {
            SubProtocol = subprotocol.Length > 0 ? subprotocol : null,
            KeepAliveInterval = interposer is null ? settings.KeepAliveInterval : Timeout.InfiniteTimeSpan,
            KeepAliveTimeout = interposer is null ? settings.KeepAliveTimeout : Timeout.InfiniteTimeSpan,
        };
        // Other WebSocket implementations cannot send frames that are already compressed.
        FrameCompression? compression = null;
        if (interposer is not null && settings.Compression is { } available
            && DeflateOffer.Accept(context.Request.Headers.SecWebSocketExtensions) is { } offer)
        {
            compression = available.ForWindow(offer.WindowBits);
            context.Response.Headers.SecWebSocketExtensions = offer.CreateResponse(compression.WindowBits);
        }

        var webSocket = await context.Features.GetRequiredFeature<IHttpWebSocketFeature>().AcceptAsync(acceptContext);
        if (interposer is not null)
        {
            interposer.Release();
            // Remove the headers that only the handshake needs. These headers would use 0.2 KB until the connection
            // ends.
            var headers = context.Request.Headers;
            headers.Remove(HeaderNames.SecWebSocketKey);
            headers.Remove(HeaderNames.SecWebSocketVersion);
            headers.Remove(HeaderNames.SecWebSocketExtensions);
        }

        _handover = interposer?.Connection;
        if ((_handover is not null || compression is not null) && interposer?.Frames is { } frames)
        {
            // The WebSocket of the handshake keeps the request in memory and has no compression. So use another
            // WebSocket on the same stream.
            webSocket = WebSocket.CreateFromStream(frames, new WebSocketCreationOptions
            {
                IsServer = true,
                SubProtocol = acceptContext.SubProtocol,
                KeepAliveInterval = Timeout.InfiniteTimeSpan,
                // The WebSocket decompresses the messages of the client. The connection writer compresses messages.
                DangerousDeflateOptions = compression is null
                    ? null
                    : new() { ClientContextTakeover = false, ServerContextTakeover = false },
            });
        }

        // Set the fields last. If a call above throws an exception, IsAccepted stays false.
        (_webSocket, _frames, _compression) = (webSocket, interposer?.Frames, compression);
    }

    /// <summary>Creates the sink of a connection. Afterwards, the writer sends all frames of the connection.</summary>
    public Sink CreateSink(ConnectionWriter writer)
    {
        if (_frames is null) return new WebSocketSink(WebSocket);
        _frames.Writer = writer;
        return new StreamSink(_frames.Inner, _frames, WebSocket, Socket) { Compression = _compression };
    }

    /// <summary>
    /// Takes the connection over from the server, so that the request can end. Returns false if the request must stay
    /// open. After a takeover, the caller must call <see cref="EndAsync"/>.
    /// </summary>
    public bool TryTakeOver()
    {
        if (_handover is null || _frames is null) return false;
        // Abort reads both fields under the lock.
        lock (this) (_connection, _handover, _context) = (_handover.HandOver(), null, null);
        return true;
    }

    /// <summary>
    /// Closes a connection after a takeover. Otherwise, the server closes the connection. Further calls have no effect.
    /// </summary>
    public Task EndAsync()
    {
        if (_connection is null || _hasEnded) return Task.CompletedTask;
        _hasEnded = true;
        return _connection.EndAsync();
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
            _context!.Abort();
        }
    }

    protected override void AbortCore()
    {
        _webSocket?.Abort();
        if (_connection is null) _context!.Abort();
        else _connection.Abort();
    }
}
