using System.Buffers;
using System.Net.WebSockets;
using Broadcast.Middleware.Connections;
using Broadcast.Middleware.Delivery;
using Broadcast.Middleware.Diagnostics;

namespace Broadcast.Middleware.Http;

/// <summary>
/// Reads the messages of a connection and passes them to its protocol, until the client closes the connection
/// or disconnects.
/// </summary>
/// <param name="connection">The connection.</param>
/// <param name="transport">The WebSocket.</param>
/// <param name="protocol">The protocol of the client.</param>
/// <param name="createContext">Creates the protocol context for the first message.</param>
/// <param name="logger">The logger.</param>
/// <param name="metrics">The metrics.</param>
sealed class MessageReceiver(
    Connection connection,
    WebSocketTransport transport,
    IBroadcastProtocol protocol,
    Func<Connection, ProtocolContext> createContext,
    BroadcastLogger logger,
    BroadcastMetrics metrics)
{
    const int InitialBufferSize = 4096;
    const int SmallFragmentSize = 64;

    byte[] _buffer = [];
    int _length;
    int _smallFragments;

    EndpointSettings Settings => connection.Settings;

    WebSocket WebSocket => transport.WebSocket;

    /// <summary>
    /// Runs until the client closes. Returns the close code of the client if the client closed first, otherwise null.
    /// </summary>
    public async Task<WebSocketCloseStatus?> RunAsync()
    {
        connection.OnReceiving();
        try
        {
            while (true)
            {
                (_length, _smallFragments) = (0, 0);
                // While the connection is idle, this method waits for the socket directly. An async method in between
                // would keep its own state in memory.
                var received = await WaitForMessageAsync();
                var type = IsComplete(received) ? received.MessageType : await ReceiveAsync();
                if (type == WebSocketMessageType.Close) return await AnswerCloseAsync();
                // After a close request, the server drops further messages.
                if (connection.Writer.ClosingStatus is null && IsWithinRate()) await HandleAsync(type);
                ReturnBuffer();
            }
        }
        finally
        {
            ReturnBuffer();
        }
    }

    /// <summary>
    /// Waits for the next message. With the framework's own WebSocket, a receive into an empty buffer does so. An idle
    /// connection then holds no buffer.
    /// </summary>
    ValueTask<ValueWebSocketReceiveResult> WaitForMessageAsync() => transport.Upgraded is not null
        ? WebSocket.ReceiveAsync(Memory<byte>.Empty, CancellationToken.None)
        : new(new ValueWebSocketReceiveResult(0, WebSocketMessageType.Binary, endOfMessage: false));

    /// <summary>Receives all fragments of the message into the buffer.</summary>
    async ValueTask<WebSocketMessageType> ReceiveAsync()
    {
        ValueWebSocketReceiveResult received;
        do
        {
            received = await WebSocket.ReceiveAsync(GetFreeBuffer(), CancellationToken.None);
            OnReceived(received);
        }
        while (!IsComplete(received));

        return received.MessageType;
    }

    static bool IsComplete(ValueWebSocketReceiveResult received) =>
        received.EndOfMessage || received.MessageType == WebSocketMessageType.Close;

    async Task HandleAsync(WebSocketMessageType webSocketType)
    {
        var type = webSocketType == WebSocketMessageType.Text ? MessageType.Text : MessageType.Binary;
        metrics.Received();
        connection.OnMessageStarted();
        try
        {
            var context = connection.ProtocolState as ProtocolContext;
            if (context is null) connection.ProtocolState = context = createContext(connection);
            await protocol.ReceiveAsync(context, new Message(_buffer.AsMemory(0, _length), type));
        }
        catch (Exception exception)
        {
            connection.CloseFailed(exception);
        }
        finally
        {
            connection.OnMessageHandled();
        }
    }

    bool IsWithinRate()
    {
        if (connection.RateLimiter is not { } limiter) return true;
        limiter.TryReplenish();
        using var lease = limiter.AttemptAcquire();
        if (lease.IsAcquired) return true;
        logger.RateLimited(connection.Id, Settings.MaxMessagesPerSecond);
        connection.Close(
            EndReason.RateLimited, WebSocketCloseStatus.PolicyViolation,
            $"The client sent more than {Settings.MaxMessagesPerSecond} messages per second.");
        return false;
    }

    Memory<byte> GetFreeBuffer()
    {
        if (_length == _buffer.Length)
        {
            var size = (int)Math.Min(Math.Max(_length * 2L, InitialBufferSize), Settings.MaxMessageBytes + 1);
            var larger = ArrayPool<byte>.Shared.Rent(size);
            _buffer.AsSpan(0, _length).CopyTo(larger);
            ReturnBuffer();
            _buffer = larger;
        }

        // One byte more than the limit shows at once that a message is too big.
        return _buffer.AsMemory(_length, Math.Min(_buffer.Length, Settings.MaxMessageBytes + 1) - _length);
    }

    void ReturnBuffer()
    {
        if (_buffer.Length > 0) ArrayPool<byte>.Shared.Return(_buffer);
        _buffer = [];
    }

    void OnReceived(ValueWebSocketReceiveResult received)
    {
        _length += received.Count;
        if (received.Count < SmallFragmentSize && !received.EndOfMessage) _smallFragments++;
        var (maxBytes, maxFragments) = (Settings.MaxMessageBytes, Settings.MaxSmallFragments);
        if (_length > maxBytes)
            Refuse($"A message is larger than {nameof(Settings.MaxMessageBytes)} ({maxBytes}).");
        else if (_smallFragments > maxFragments)
            Refuse($"A message has more small fragments than {nameof(Settings.MaxSmallFragments)} ({maxFragments}).");
        if (connection.Writer.ClosingStatus is not null) _length = 0;
    }

    void Refuse(string problem)
    {
        if (connection.Writer.ClosingStatus is not null) return;
        logger.MessageRefused(connection.Id, problem);
        connection.Close(EndReason.MessageTooBig, WebSocketCloseStatus.MessageTooBig, problem);
    }

    async Task<WebSocketCloseStatus?> AnswerCloseAsync()
    {
        var status = transport.CloseStatus;
        if (status == WebSocketCloseStatus.Empty && connection is { Session: not null, Writer.ClosingStatus: null })
        {
            // The published clients send a close frame without a code when they find a dead transport. Then they
            // reconnect.
            await WebSocket.CloseOutputAsync(WebSocketCloseStatus.NormalClosure, null, CancellationToken.None);
            return status;
        }

        // Answer a close frame without a code with 1000. The framework's placeholder 1005 must not be sent.
        var isFirst = status == WebSocketCloseStatus.Empty
            ? connection.Close(EndReason.ClosedByPeer, WebSocketCloseStatus.NormalClosure, null)
            : connection.Close(EndReason.ClosedByPeer, status, WebSocket.CloseStatusDescription);
        return isFirst ? status : null;
    }
}
