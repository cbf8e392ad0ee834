using System.Buffers;
using System.Net.WebSockets;
using System.Threading.RateLimiting;

namespace Broadcast.Middleware;

/// <summary>Reads a connection's messages and takes each through the pipeline, until the peer says goodbye or is lost.</summary>
/// <param name="broadcaster">The broadcast.</param>
/// <param name="onMessage">The pipeline.</param>
/// <param name="connection">The connection.</param>
/// <param name="line">What it reads from.</param>
sealed class MessageReceiver(Broadcaster broadcaster, FilterDelegate<MessageContext> onMessage, Connection connection, WebSocketLine line)
{
    const int FirstBufferSize = 4096;
    const int SmallFragment = 64;

    readonly TokenBucketRateLimiter? _rateLimiter = RateLimiterFor(broadcaster.Options);
    readonly WebSocket _webSocket = line.WebSocket;
    byte[] _buffer = [];
    int _length;
    int _smallFragments;

    /// <summary>The peer's close code, if it closed first; else null.</summary>
    public async Task<WebSocketCloseStatus?> RunAsync()
    {
        connection.IsBusy = false;
        try
        {
            while (true)
            {
                (_length, _smallFragments) = (0, 0);
                // With the framework's own WebSocket, a receive into no bytes waits for the next message: an idle connection holds no buffer.
                var received = line.Upgraded is not null
                    ? await _webSocket.ReceiveAsync(Memory<byte>.Empty, CancellationToken.None)
                    : new ValueWebSocketReceiveResult(0, WebSocketMessageType.Binary, endOfMessage: false);
                while (!received.EndOfMessage && received.MessageType != WebSocketMessageType.Close)
                {
                    received = await _webSocket.ReceiveAsync(FreeBuffer(), CancellationToken.None);
                    Count(received);
                }

                if (received.MessageType == WebSocketMessageType.Close) return await AnswerCloseAsync();

                // After goodbye was said, what still comes is dropped.
                if (connection.Writer.ClosingStatus is null && IsWithinRate())
                {
                    var type = received.MessageType == WebSocketMessageType.Text ? MessageType.Text : MessageType.Binary;
                    connection.HasSpoken = true;
                    broadcaster.Metrics.Received();
                    var message = new Message(_buffer.AsMemory(0, _length), type);
                    try
                    {
                        connection.IsBusy = true;
                        var context = connection.ProtocolContext ??= new ProtocolContext(broadcaster, connection, onMessage);
                        await connection.Protocol.Protocol.ReceiveAsync(context, message);
                    }
                    catch (Exception exception)
                    {
                        connection.CloseFailed(exception);
                    }
                    finally
                    {
                        connection.IsBusy = false;
                    }
                }

                ReturnBuffer();
            }
        }
        finally
        {
            ReturnBuffer();
        }
    }

    bool IsWithinRate()
    {
        if (_rateLimiter is null) return true;
        _rateLimiter.TryReplenish();
        using var lease = _rateLimiter.AttemptAcquire();
        if (lease.IsAcquired) return true;
        broadcaster.Log.RateLimited(connection.Id, Options.MaxMessagesPerSecond);
        connection.Close(EndReason.RateLimited, WebSocketCloseStatus.PolicyViolation, $"More than {Options.MaxMessagesPerSecond} messages a second.");
        return false;
    }

    /// <summary>It is filled when it is asked: a timer of its own for each connection would cost more than the connection.</summary>
    static TokenBucketRateLimiter? RateLimiterFor(BroadcastOptions options) => options.MaxMessagesPerSecond is not { } rate ? null : new(new()
    {
        TokenLimit = options.MaxMessageBurst ?? rate,
        TokensPerPeriod = 1,
        ReplenishmentPeriod = TimeSpan.FromSeconds(1.0 / rate),
        AutoReplenishment = false,
        QueueLimit = 0,
    });

    BroadcastOptions Options => broadcaster.Options;

    Memory<byte> FreeBuffer()
    {
        if (_length == _buffer.Length)
        {
            var larger = ArrayPool<byte>.Shared.Rent((int)Math.Min(Math.Max(_length * 2L, FirstBufferSize), Options.MaxMessageBytes + 1));
            _buffer.AsSpan(0, _length).CopyTo(larger);
            var length = _length;
            ReturnBuffer();
            (_buffer, _length) = (larger, length);
        }

        // One byte more than may come, to see at once that more came.
        return _buffer.AsMemory(_length, Math.Min(_buffer.Length, Options.MaxMessageBytes + 1) - _length);
    }

    void ReturnBuffer()
    {
        if (_buffer.Length > 0) ArrayPool<byte>.Shared.Return(_buffer);
        _buffer = [];
    }

    void Count(ValueWebSocketReceiveResult received)
    {
        _length += received.Count;
        if (received.Count < SmallFragment && !received.EndOfMessage) _smallFragments++;
        if (_length > Options.MaxMessageBytes) Refuse($"a message exceeds MaxMessageBytes ({Options.MaxMessageBytes}).");
        else if (_smallFragments > Options.MaxSmallFragments) Refuse($"a message exceeds MaxSmallFragments ({Options.MaxSmallFragments}).");
        if (connection.Writer.ClosingStatus is not null) _length = 0;
    }

    void Refuse(string problem)
    {
        if (connection.Writer.ClosingStatus is not null) return;
        broadcaster.Log.MessageRefused(connection.Id, problem);
        connection.Close(EndReason.MessageTooBig, WebSocketCloseStatus.MessageTooBig, problem);
    }

    async ValueTask<WebSocketCloseStatus?> AnswerCloseAsync()
    {
        // A close frame without a code is answered with 1000: the framework would write its stand-in, 1005, which must not be sent.
        var status = line.CloseStatus;
        if (status == WebSocketCloseStatus.Empty && connection is { Session: not null, Writer.ClosingStatus: null })
        {
            // Its line ends. Published clients say no more than this when they find it dead, and then they come back.
            await _webSocket.CloseOutputAsync(WebSocketCloseStatus.NormalClosure, null, CancellationToken.None);
            return status;
        }

        var isFirst = status == WebSocketCloseStatus.Empty
            ? connection.Close(EndReason.ClosedByPeer, WebSocketCloseStatus.NormalClosure, null)
            : connection.Close(EndReason.ClosedByPeer, status, _webSocket.CloseStatusDescription);
        return isFirst ? status : null;
    }
}
