using System.Net.WebSockets;
using System.Text;
using Broadcast.Middleware.Testing.Hosting;
using Broadcast.Middleware.Testing.Wire;

namespace Broadcast.Middleware.Testing;

/// <summary>A WebSocket client of a <see cref="BroadcastTestHost"/>.</summary>
public abstract class WebSocketTestClient : TestClient
{
    const int MaxReasonBytes = 123;

    readonly Queue<Message> _received = new();
    readonly WebSocketWire _wire;
    ServerFrame? _close;
    bool _isCloseFrameSent;

    private protected WebSocketTestClient(TestClientState state, InMemoryStream stream, WebSocketWire wire)
        : base(state, stream) => _wire = wire;

    /// <summary>
    /// Waits until the server has handled all earlier messages of this client. If the server closes the connection
    /// first, the method also completes.
    /// </summary>
    /// <remarks>
    /// The client sends a ping (RFC 6455, section 5.5.2). The server handles the messages of a client in order, and
    /// answers a ping after the filters of earlier messages have run. If a filter takes longer than one second of the
    /// app's clock, the server answers before the filter has ended. The client keeps received messages for later calls.
    /// </remarks>
    public async Task PingAsync()
    {
        if (_close is not null) return;
        await SendFrameAsync(ClientFrame.Make(ClientFrame.Ping, "test"u8));
        while (_close is null)
        {
            switch (await ReadFrameAsync())
            {
                case { Opcode: ClientFrame.Pong }:
                    return;
                case { Opcode: ClientFrame.Text or ClientFrame.Binary } frame:
                    _received.Enqueue(ToMessage(frame));
                    break;
            }
        }
    }

    /// <summary>
    /// Waits for the close frame of the server, answers the frame, and waits for the end of the connection.
    /// </summary>
    /// <returns>
    /// The close code (RFC 6455, section 7.4) and the reason. The code is 1005 for a frame without a code.
    /// </returns>
    /// <exception cref="BroadcastTestException">The server sent a message first.</exception>
    public async Task<(int Code, string Reason)> ReceiveCloseAsync()
    {
        while (_close is null && _received.Count == 0)
        {
            if (await ReadFrameAsync() is { Opcode: ClientFrame.Text or ClientFrame.Binary } frame)
                _received.Enqueue(ToMessage(frame));
        }

        if (_received.TryPeek(out var message))
        {
            throw new BroadcastTestException(
                $"The client expected a close frame, but received {Describe(message)}. Receive the message first.");
        }

        await AnswerCloseAsync(_close!);
        return (_close!.CloseCode ?? (int)WebSocketCloseStatus.Empty, _close.CloseReason);
    }

    /// <summary>
    /// Closes the connection and waits until the server has ended the connection. Ignores messages of the server.
    /// </summary>
    /// <param name="status">The close code. Default: 1000.</param>
    /// <param name="reason">The reason: at most 123 bytes of UTF-8. Null for no reason.</param>
    /// <exception cref="ArgumentException">The reason is longer than 123 bytes.</exception>
    /// <exception cref="BroadcastTestException">The connection has ended without a close frame.</exception>
    public async Task CloseAsync(
        WebSocketCloseStatus status = WebSocketCloseStatus.NormalClosure, string? reason = null)
    {
        if (reason is not null && Encoding.UTF8.GetByteCount(reason) > MaxReasonBytes)
        {
            throw new ArgumentException(
                $"The reason has more than {MaxReasonBytes} bytes. Shorten the reason.", nameof(reason));
        }

        if (_close is null && !_isCloseFrameSent)
        {
            _isCloseFrameSent = true;
            await SendFrameAsync(ClientFrame.CreateClose(status, reason));
        }

        while (_close is null) await ReadFrameAsync();
        await AnswerCloseAsync(_close);
    }

    private protected Task SendAsync(MessageType type, ReadOnlyMemory<byte> payload) =>
        _isCloseFrameSent || _close is not null
            ? throw CreateClosedException("The client cannot send a message")
            : SendFrameAsync(ClientFrame.Make(ToOpcode(type), payload.Span));

    /// <summary>Returns the next message.</summary>
    private protected async Task<Message> ReceiveMessageAsync(string expected)
    {
        if (_received.TryDequeue(out var received)) return received;
        while (_close is null)
        {
            if (await ReadFrameAsync() is { Opcode: ClientFrame.Text or ClientFrame.Binary } frame)
                return ToMessage(frame);
        }

        throw CreateClosedException($"The client expected {expected}");
    }

    /// <summary>Asserts that no further message has arrived, and that the connection is open.</summary>
    private protected async Task CheckNothingReceivedAsync()
    {
        await PingAsync();
        // A pong can arrive before earlier messages, but the marker cannot.
        if (_close is null && await PublishMarkerAsync() is { } marker) await ReadToMarkerAsync(marker);
        else await PingAsync();
        if (_received.TryPeek(out var message))
            throw new BroadcastTestException($"The client expected no message, but received {Describe(message)}.");
        if (_close is not null) throw CreateClosedException("The client expected an open connection");
    }

    static string Describe(Message message)
    {
        if (message.Type == MessageType.Binary) return $"a binary message of {message.Payload.Length} bytes";
        var text = message.ToString();
        return $"the text '{(text.Length > 200 ? text[..200] + "…" : text)}'";
    }

    static int ToOpcode(MessageType type) => type == MessageType.Text ? ClientFrame.Text : ClientFrame.Binary;

    static Message ToMessage(ServerFrame frame) =>
        new(frame.Payload, frame.Opcode == ClientFrame.Text ? MessageType.Text : MessageType.Binary);

    async Task ReadToMarkerAsync(string marker)
    {
        while (_close is null)
        {
            if (await ReadFrameAsync() is not { Opcode: ClientFrame.Text or ClientFrame.Binary } frame) continue;
            if (frame.Text.Contains(marker, StringComparison.Ordinal)) return;
            _received.Enqueue(ToMessage(frame));
        }
    }

    /// <summary>Reads a frame, answers a ping, and stores a close frame.</summary>
    async Task<ServerFrame> ReadFrameAsync()
    {
        ServerFrame frame;
        try
        {
            frame = await _wire.ReadFrameAsync();
        }
        catch (TransportEndedException exception)
        {
            throw CreateEndedException("The server ended the connection without a close frame.", exception);
        }

        if (frame.Opcode == ClientFrame.Ping) await SendFrameAsync(ClientFrame.Make(ClientFrame.Pong, frame.Payload));
        if (frame.Opcode == ClientFrame.Close) _close = frame;
        return frame;
    }

    async Task AnswerCloseAsync(ServerFrame close)
    {
        if (!_isCloseFrameSent)
        {
            _isCloseFrameSent = true;
            try
            {
                await _wire.SendAsync(ClientFrame.CreateClose(close.CloseCode ?? 1000));
            }
            catch (IOException)
            {
                // The server did not wait for the answer.
                return;
            }
        }

        await _wire.ReadEndAsync();
    }

    async Task SendFrameAsync(byte[] frame)
    {
        try
        {
            await _wire.SendAsync(frame);
        }
        catch (IOException exception)
        {
            throw CreateEndedException(
                "The client cannot send, because the connection has ended. To see the close code, call " +
                "ReceiveCloseAsync.",
                exception);
        }
    }

    BroadcastTestException CreateClosedException(string expectation)
    {
        if (_close is null) return new($"{expectation}, but the client has closed the connection.");
        var reason = _close.CloseReason.Length == 0 ? "no reason" : $"the reason '{_close.CloseReason}'";
        return new($"{expectation}, but the server closed the connection with code {_close.CloseCode} and {reason}.")
        {
            CloseCode = _close.CloseCode,
        };
    }
}
