using System.Net.Sockets;
using System.Net.WebSockets;
using Broadcast.Middleware.Transports;
using Microsoft.AspNetCore.Http;

namespace Broadcast.Middleware.Delivery;

/// <summary>Writes server-sent events to the body of a response. The first write also sends the headers.</summary>
/// <param name="response">The response.</param>
/// <param name="socket">The TCP socket. Null if other connections share the socket or if the socket is unknown.</param>
/// <param name="isClosedByApp">
/// Returns true if the app closes the connection, or if a connect filter rejects the connection.
/// </param>
/// <param name="opening">The first bytes of the body. Null for a body without an opening.</param>
sealed class EventStreamSink(HttpResponse response, Socket? socket, Func<bool> isClosedByApp, byte[]? opening) : Sink
{
    // WebSocketCloseStatus has no names for these codes.
    const WebSocketCloseStatus ServiceRestart = (WebSocketCloseStatus)1012, BadGateway = (WebSocketCloseStatus)1014;

    readonly TaskCompletionSource _ended = new(TaskCreationOptions.RunContinuationsAsynchronously);
    byte[]? _opening = opening;
    int _pings;
    bool _hasWritten;
    long _skipped;

    /// <summary>
    /// A task that completes when the server has sent the close event, or when the client has disconnected.
    /// </summary>
    public Task Ended => _ended.Task;

    public override long? Acknowledged => socket is null ? null : TcpOptions.GetAcknowledgedBytes(socket);

    /// <summary>
    /// The number of pings. The client never sends bytes, so the class counts each ping as received data. The server
    /// detects a lost client when a write fails or stalls.
    /// </summary>
    public override int? Received => _pings;

    public override ReadOnlyMemory<byte> Ping
    {
        get
        {
            _pings++;
            return EventStreamEncoder.Comment;
        }
    }

    public override void OnSkipped(long messages) => _skipped += messages;

    public override ReadOnlyMemory<byte> TakeNotice()
    {
        if (_skipped == 0) return default;
        var notice = EventStreamEncoder.EncodeMissed(_skipped);
        _skipped = 0;
        return notice;
    }

    public override ValueTask WriteAsync(ReadOnlyMemory<byte> frames)
    {
        _hasWritten = true;
        if (_opening is not { } opening) return response.Body.WriteAsync(frames);
        _opening = null;
        return response.Body.WriteAsync((byte[])[.. opening, .. frames.Span]);
    }

    /// <summary>
    /// Sends the close event. If the client must not reconnect and the server has sent nothing yet, the method sends an
    /// HTTP status instead.
    /// </summary>
    /// <remarks>
    /// A browser reconnects after the end of a stream. The HTTP status or the event ID
    /// <see cref="EventStreamEncoder.FinalId"/> prevents further reconnects.
    /// </remarks>
    public override async Task CloseAsync(WebSocketCloseStatus status, string? reason)
    {
        var isFinal = isClosedByApp() && IsFinal(status);
        try
        {
            if (isFinal && !_hasWritten && !response.HasStarted)
                await RejectAsync(status, reason).ConfigureAwait(false);
            else
                await WriteAsync(EventStreamEncoder.EncodeClose((int)status, reason, isFinal)).ConfigureAwait(false);
        }
        finally
        {
            _ended.TrySetResult();
        }
    }

    public void OnAborted() => _ended.TrySetResult();

    /// <summary>Returns false if the close code asks the client to connect again.</summary>
    static bool IsFinal(WebSocketCloseStatus status) => status is not (
        WebSocketCloseStatus.EndpointUnavailable or WebSocketCloseStatus.InternalServerError
        or ServiceRestart or CloseStatus.TryAgainLater or BadGateway);

    Task RejectAsync(WebSocketCloseStatus status, string? reason)
    {
        response.ContentType = null;
        response.StatusCode = StatusCodes.Status204NoContent;
        if (status == WebSocketCloseStatus.NormalClosure) return Task.CompletedTask;
        response.StatusCode = StatusCodes.Status403Forbidden;
        response.ContentType = "text/plain; charset=utf-8";
        return response.WriteAsync(reason + "\n");
    }
}
