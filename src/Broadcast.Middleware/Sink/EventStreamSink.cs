using System.Net.Sockets;
using System.Net.WebSockets;
using Microsoft.AspNetCore.Http;

namespace Broadcast.Middleware;

/// <summary>Writes server-sent events to the body of a response.</summary>
/// <param name="response">The response, whose headers have been sent.</param>
/// <param name="socket">The connection's own, if it has one and shares it with nobody.</param>
sealed class EventStreamSink(HttpResponse response, Socket? socket) : Sink
{
    readonly TaskCompletionSource _ended = new(TaskCreationOptions.RunContinuationsAsynchronously);
    int _pings;
    long _skipped;

    /// <summary>Ends when everything has been said, or nobody listens any more.</summary>
    public Task Ended => _ended.Task;

    public override long? Acknowledged => socket is null ? null : Tcp.BytesAcknowledged(socket);

    /// <summary>It never says anything: whether it is there, the writes show.</summary>
    public override int? Heard => _pings;

    public override ReadOnlyMemory<byte> Ping
    {
        get
        {
            _pings++;
            return EventStreamFormat.Comment;
        }
    }

    public override void OnSkipped(long messages) => _skipped += messages;

    public override ReadOnlyMemory<byte> TakeNotice()
    {
        if (_skipped == 0) return default;
        var notice = EventStreamFormat.Missed(_skipped);
        _skipped = 0;
        return notice;
    }

    public override ValueTask WriteAsync(ReadOnlyMemory<byte> frames) => response.Body.WriteAsync(frames);

    public override async Task CloseAsync(WebSocketCloseStatus status, string? reason)
    {
        try
        {
            await response.Body.WriteAsync(EventStreamFormat.Close((int)status, reason)).ConfigureAwait(false);
        }
        finally
        {
            _ended.TrySetResult();
        }
    }

    public void OnAborted() => _ended.TrySetResult();
}
