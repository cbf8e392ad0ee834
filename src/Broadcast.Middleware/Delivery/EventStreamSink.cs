using System.Net.Sockets;
using System.Net.WebSockets;
using Broadcast.Middleware.Transports;
using Microsoft.AspNetCore.Http;

namespace Broadcast.Middleware.Delivery;

/// <summary>Writes server-sent events to the body of a response.</summary>
/// <param name="response">The response. The server has already sent the headers.</param>
/// <param name="socket">The TCP socket. Null if other connections share the socket or if the socket is unknown.</param>
sealed class EventStreamSink(HttpResponse response, Socket? socket) : Sink
{
    readonly TaskCompletionSource _ended = new(TaskCreationOptions.RunContinuationsAsynchronously);
    int _pings;
    long _skipped;

    /// <summary>Completes when the server has sent the close event, or when the client is gone.</summary>
    public Task Ended => _ended.Task;

    public override long? Acknowledged => socket is null ? null : TcpOptions.GetAcknowledgedBytes(socket);

    /// <summary>
    /// The number of pings. The client never sends anything, so each ping counts as a sign of life. The server notices
    /// a lost client when a write fails or stalls.
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

    public override ValueTask WriteAsync(ReadOnlyMemory<byte> frames) => response.Body.WriteAsync(frames);

    public override async Task CloseAsync(WebSocketCloseStatus status, string? reason)
    {
        try
        {
            await response.Body.WriteAsync(EventStreamEncoder.EncodeClose((int)status, reason)).ConfigureAwait(false);
        }
        finally
        {
            _ended.TrySetResult();
        }
    }

    public void OnAborted() => _ended.TrySetResult();
}
