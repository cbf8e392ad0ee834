using System.IO.Pipelines;
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
/// The transport of a WebSocket client: the upgraded stream of the HTTP request, or the WebSocket of a server that
/// upgrades no requests. If the server can hand over the connection, the transport stays open after the request.
/// </summary>
sealed class WebSocketTransport(HttpContext context) : ConnectionTransport
{
    static readonly TimeSpan MaxLingerTime = TimeSpan.FromSeconds(1);
    static readonly TimeSpan MaxLingerSilence = TimeSpan.FromMilliseconds(250);

    // The server disposes the stream, so the reader leaves the stream open. A read of zero bytes waits for data without
    // a buffer.
    static readonly StreamPipeReaderOptions _readerOptions = new(leaveOpen: true, useZeroByteReads: true);

    // Null after the handover, because the server reuses the objects of the request.
    HttpContext? _context = context;
    HandoverConnection? _handover =
        HttpProtocol.IsHttp11(context.Request.Protocol) ? HandoverConnection.Find(context.Features) : null;

    HandedOverConnection? _connection;
    Stream? _output;
    WebSocket? _webSocket; // Not null if the server upgrades no requests, for example TestServer.
    MessageReader? _reader;
    bool _hasEnded;
    FrameCompression? _compression;

    public override CancellationToken ClientGone
    {
        get
        {
            // TryTakeOver sets _connection before it clears the other fields. So read _connection last. A lock could
            // block, because an abort holds the lock while it runs callbacks of the app.
            var (handover, context) = (Volatile.Read(ref _handover), Volatile.Read(ref _context));
            return Volatile.Read(ref _connection)?.Closed ?? handover?.ConnectionClosed ?? context!.RequestAborted;
        }
    }

    /// <summary>Reads from the client. Valid after <see cref="AcceptAsync"/>.</summary>
    public MessageReader Reader => _reader!;

    public bool IsAccepted => _reader is not null;

    /// <summary>
    /// The TCP socket. Null if other requests share the socket, or if the server does not provide the socket.
    /// </summary>
    public Socket? Socket => _connection is null ? ClientSocket.Find(_context!) : _connection.Socket;

    /// <summary>Answers the handshake.</summary>
    /// <param name="subprotocol">The subprotocol of the answer. Empty for an answer without a subprotocol.</param>
    /// <param name="settings">The settings of the connection.</param>
    /// <exception cref="InvalidOperationException">The server accepts no more upgraded connections.</exception>
    public async Task AcceptAsync(string subprotocol, EndpointSettings settings)
    {
        var context = _context!;
        var interposer = context.Features.Get<IHttpUpgradeFeature>() as FrameInterposer
            ?? context.Features.Get<IHttpExtendedConnectFeature>() as FrameInterposer;
        // With an upgraded stream, the library sends and receives the frames itself, and does not use the WebSocket of
        // ASP.NET Core. Without an upgraded stream, the WebSocket of the server must send the pings.
        var acceptContext = new WebSocketAcceptContext
        {
            SubProtocol = subprotocol.Length > 0 ? subprotocol : null,
            KeepAliveInterval = interposer is null ? settings.KeepAliveInterval : Timeout.InfiniteTimeSpan,
            KeepAliveTimeout = interposer is null ? settings.KeepAliveTimeout : Timeout.InfiniteTimeSpan,
        };
        // Without an upgraded stream, the WebSocket of the server cannot send frames that are already compressed.
        FrameCompression? compression = null;
        if (interposer is not null && settings.Compression is { } available
            && DeflateOffer.Accept(context.Request.Headers.SecWebSocketExtensions) is { } offer)
        {
            compression = available.ForWindow(offer.WindowBits);
            context.Response.Headers.SecWebSocketExtensions = offer.CreateResponse(compression.WindowBits);
        }

        WebSocket webSocket;
        try
        {
            webSocket = await context.Features.GetRequiredFeature<IHttpWebSocketFeature>().AcceptAsync(acceptContext);
        }
        catch (InvalidOperationException) when (!context.Response.HasStarted)
        {
            context.Response.Headers.Remove(HeaderNames.SecWebSocketExtensions);
            throw;
        }

        PipeReader input;
        // If middleware of the app has answered the handshake, the server cannot hand over the connection.
        _handover = interposer?.Connection;
        if (interposer is null)
        {
            input = new WebSocketInput(webSocket);
            _webSocket = webSocket;
        }
        else
        {
            interposer.Release();
            // Remove the headers that only the handshake needs. These headers would use 0.2 KB until the connection
            // ends.
            var headers = context.Request.Headers;
            headers.Remove(HeaderNames.SecWebSocketKey);
            headers.Remove(HeaderNames.SecWebSocketVersion);
            headers.Remove(HeaderNames.SecWebSocketExtensions);
            _output = interposer.Output;
            input = _handover?.ClientInput ?? PipeReader.Create(interposer.Upgraded!, _readerOptions);
        }

        // Set the fields last. If a call above throws an exception, IsAccepted stays false.
        _compression = compression;
        _reader = new MessageReader(input, isMasked: interposer is not null)
        {
            MaxMessageBytes = settings.MaxMessageBytes,
            MaxSmallFragments = settings.MaxSmallFragments,
            Decompresses = compression is not null,
        };
    }

    /// <summary>Creates the sink of a connection. Afterwards, the writer sends all frames of the connection.</summary>
    public Sink CreateSink()
    {
        if (_webSocket is not null) return new WebSocketSink(_webSocket);
        return _handover is null
            ? new StreamSink(_output!, Reader, Socket) { Compression = _compression }
            : new PipeSink(_handover.ClientOutput, Reader, Socket) { Compression = _compression };
    }

    /// <summary>
    /// Takes the connection over from the server, so that the request can end. Returns false if the request must stay
    /// open. After a takeover, the caller must call <see cref="EndAsync"/> and <see cref="EndTakeover"/>.
    /// </summary>
    public bool TryTakeOver()
    {
        if (_handover is null) return false;
        // Abort reads _connection and _context under this lock.
        lock (this)
        {
            _connection = _handover.HandOver();
            Volatile.Write(ref _handover, null);
            Volatile.Write(ref _context, null);
            _output = null;
        }

        return true;
    }

    /// <summary>Disposes the WebSocket of a server that upgrades no requests.</summary>
    public void DisposeWebSocket() => _webSocket?.Dispose();

    /// <summary>
    /// Reads and discards input for a short time after a close frame. The operating system resets a socket that closes
    /// with unread input, and the client may then not receive the close frame. A client that has received the close
    /// frame stops sending and closes the connection.
    /// </summary>
    public async Task LingerAsync()
    {
        if (_webSocket is not null) return;
        using var total = new CancellationTokenSource(MaxLingerTime);
        using var silence = CancellationTokenSource.CreateLinkedTokenSource(total.Token);
        try
        {
            do silence.CancelAfter(MaxLingerSilence);
            while (await Reader.DiscardAsync(silence.Token));
        }
        catch (Exception)
        {
            // The time is over, or the client is gone. The connection ends in both cases.
        }
    }

    /// <summary>
    /// Ends the use of the input. After a takeover, the method also closes the connection. Otherwise, the server closes
    /// the connection. Further calls have no effect.
    /// </summary>
    public async Task EndAsync()
    {
        if (_hasEnded) return;
        _hasEnded = true;
        if (_connection is not null) await _connection.EndAsync();
        else await Reader.CompleteAsync();
    }

    /// <summary>
    /// Ends a takeover: the server no longer waits for the connection. Call this method once, after the last use of the
    /// transport.
    /// </summary>
    public void EndTakeover() => _connection?.Release();

    /// <summary>Closes the WebSocket of a refused client, and gives the client time to answer.</summary>
    public async Task RefuseAsync(string reason, TimeSpan timeout, TimeProvider time)
    {
        using var timeoutSource = new CancellationTokenSource(timeout, time);
        var closing = Task.CompletedTask;
        try
        {
            closing = CreateSink().CloseAsync(WebSocketCloseStatus.PolicyViolation, reason);
            await closing.WaitAsync(timeoutSource.Token);
            ReceivedItem item;
            do item = Reader.Take(await Reader.ReadAsync(timeoutSource.Token));
            while (item is not (ReceivedItem.Close or ReceivedItem.Error));
            DisposeWebSocket();
        }
        catch (Exception)
        {
            // The client is gone or does not answer.
            AbortCore();
            await closing.ConfigureAwait(ConfigureAwaitOptions.SuppressThrowing);
        }
        finally
        {
            Reader.Release();
        }
    }

    protected override void AbortCore()
    {
        _webSocket?.Abort();
        if (_connection is null) _context!.Abort();
        else _connection.Abort();
    }
}
