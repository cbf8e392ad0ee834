using System.Buffers;
using System.Diagnostics;
using System.Net.WebSockets;
using Broadcast.Middleware.Connections;
using Broadcast.Middleware.Delivery;
using Broadcast.Middleware.Diagnostics;
using Broadcast.Middleware.Filters;
using Broadcast.Middleware.Protocols;

namespace Broadcast.Middleware.Http;

/// <summary>
/// Reads the messages of a connection and passes them to its protocol, until the client closes the connection
/// or disconnects.
/// </summary>
/// <param name="connection">The connection.</param>
/// <param name="transport">The WebSocket.</param>
/// <param name="createContext">Creates the protocol context for the first message.</param>
/// <param name="time">The time provider.</param>
/// <param name="logger">The logger.</param>
/// <param name="metrics">The metrics.</param>
sealed class MessageReceiver(
    Connection connection,
    WebSocketTransport transport,
    Func<Connection, ProtocolContext> createContext,
    TimeProvider time,
    BroadcastLogger logger,
    BroadcastMetrics metrics) : IFirstMessageReceiver
{
    const int InitialBufferSize = 4096;
    const int SmallFragmentSize = 64;

    // If a filter takes longer than this time, the server answers control frames while the filter runs. Before this
    // time has passed, the server reads no ping or close frame that follows the message. On a connection whose filter
    // often waits, the time can be twice as long: see HandlerWatch.
    static readonly TimeSpan MaxControlFrameDelay = TimeSpan.FromSeconds(1);

    byte[] _buffer = [];
    int _length;
    int _smallFragments;
    HandlerWatch? _watch; // Null on an idle connection.

    EndpointSettings Settings => connection.Settings;

    WebSocket WebSocket => transport.WebSocket;

    IBroadcastProtocol Protocol => ((ProtocolDescriptor)connection.Format).Protocol;

    /// <summary>
    /// Runs until the client closes the connection. Returns the close code if the client closed first, and null
    /// otherwise.
    /// </summary>
    public async Task<WebSocketCloseStatus?> RunAsync()
    {
        // Messages do not belong to the activity of the handshake, which lasts as long as the connection. The change
        // ends with this method, because this method is async.
        Activity.Current = null;
        connection.OnReceiving();
        // A connect filter may already have received the close frame.
        if (WebSocket.CloseStatus is not null)
            return connection.EndReason == EndReason.ClosedByPeer ? transport.CloseStatus : null;
        try
        {
            var waiting = WaitForMessageAsync();
            while (true)
            {
                (_length, _smallFragments) = (0, 0);
                // While the connection is idle, this method waits for the socket directly. An async method in between
                // would keep a second state machine in memory.
                var received = await waiting;
                var type = IsComplete(received) ? received.MessageType : await ReceiveAsync();
                if (type == WebSocketMessageType.Close) return await AnswerCloseAsync();
                // After a call of Close, the server drops further messages.
                var isDropped = connection.Writer.ClosingStatus is not null || !IsWithinRate();
                var handling = isDropped ? Task.CompletedTask : HandleAsync(type);
                if (!handling.IsCompleted)
                {
                    var handled = await WaitForHandlerAsync(handling);
                    if (handled.IsClosed) return handled.ClosedByPeer;
                    waiting = handled.Waiting;
                    continue;
                }

                ReturnBuffer();
                waiting = WaitForMessageAsync();
            }
        }
        finally
        {
            _watch?.End();
            ReturnBuffer();
        }
    }

    public async ValueTask<Message?> ReceiveFirstAsync()
    {
        connection.OnReceiving();
        try
        {
            (_length, _smallFragments) = (0, 0);
            var received = await WaitForMessageAsync();
            var type = IsComplete(received) ? received.MessageType : await ReceiveAsync();
            if (type == WebSocketMessageType.Close)
            {
                await AnswerCloseAsync();
                return null;
            }

            if (connection.Writer.ClosingStatus is not null || !IsWithinRate() || !connection.TryStartMessage())
                return null;
            metrics.Received();
            // The filter may keep the message, so copy the buffer.
            return new Message(_buffer.AsSpan(0, _length).ToArray(), ToMessageType(type));
        }
        catch (Exception)
        {
            // The client is gone or violates the protocol. RunAsync gets the same error again and ends the connection.
            connection.SetEndReason(connection.Writer.IsCloseFrameSent ? EndReason.ProtocolError : EndReason.Lost);
            return null;
        }
        finally
        {
            ReturnBuffer();
        }
    }

    /// <summary>
    /// Waits for the next message without a buffer: a receive into an empty buffer completes when data arrives. Only
    /// the WebSocket of ASP.NET Core supports such a receive. For other WebSockets, the method returns at once.
    /// </summary>
    ValueTask<ValueWebSocketReceiveResult> WaitForMessageAsync() => transport.Upgraded is not null
        ? WebSocket.ReceiveAsync(Memory<byte>.Empty, CancellationToken.None)
        : new(new ValueWebSocketReceiveResult(0, WebSocketMessageType.Binary, endOfMessage: false));

    /// <summary>
    /// Waits until the protocol has handled the current message. If the wait takes long, the server answers control
    /// frames during the wait.
    /// </summary>
    async Task<HandledMessage> WaitForHandlerAsync(Task handling)
    {
        // Other WebSockets cannot wait for a message without a buffer.
        var watch = transport.Upgraded is null ? null : Watch(handling);
        await handling;
        // Return the buffer only after the filter has completed, because the filter uses the buffer.
        ReturnBuffer();
        return watch?.Stop() is { } answering ? await answering : new(WaitForMessageAsync());
    }

    HandlerWatch Watch(Task handling)
    {
        if (_watch is { } watch && watch.TryStart(handling)) return watch;
        return _watch = new(this, handling);
    }

    /// <summary>
    /// Answers pings and a close frame while a filter runs. To find these frames, the WebSocket reads up to the header
    /// of the next message.
    /// </summary>
    async Task<HandledMessage> AnswerControlFramesAsync(Task handling)
    {
        var waiting = WaitForMessageAsync().AsTask();
        await Task.WhenAny(handling, waiting);
        if (waiting.IsCompletedSuccessfully && waiting.Result.MessageType == WebSocketMessageType.Close)
            return new(await AnswerCloseAsync());
        // The client is gone, or the client has violated the protocol. The filter must not keep the transport open.
        if (waiting.IsFaulted)
        {
            await handling.WaitAsync(Settings.CloseTimeout, time)
                .ConfigureAwait(ConfigureAwaitOptions.SuppressThrowing);
            if (!handling.IsCompleted)
                connection.Abort(connection.Writer.IsCloseFrameSent ? EndReason.ProtocolError : EndReason.Lost);
        }

        return new(new ValueTask<ValueWebSocketReceiveResult>(waiting));
    }

    ITimer StartTimer(HandlerWatch watch) => BackgroundWork.CreateTimer(
        time,
        static watch => ((HandlerWatch)watch!).OnTimer(),
        watch,
        MaxControlFrameDelay,
        Timeout.InfiniteTimeSpan);

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
        // Without an answer, the client may send its request again to another node. So the server handles only messages
        // that it can answer before the close frame.
        if (!connection.TryStartMessage()) return;
        var type = ToMessageType(webSocketType);
        metrics.Received();
        try
        {
            var context = connection.ProtocolState as ProtocolContext;
            if (context is null) connection.ProtocolState = context = createContext(connection);
            await Protocol.ReceiveAsync(context, new Message(_buffer.AsMemory(0, _length), type));
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

    static MessageType ToMessageType(WebSocketMessageType type) =>
        type == WebSocketMessageType.Text ? MessageType.Text : MessageType.Binary;

    bool IsWithinRate()
    {
        if (connection.TryCountMessage()) return true;
        logger.RateLimited(connection.Id, Settings.MaxMessagesPerSecond);
        connection.Close(
            EndReason.RateLimited, WebSocketCloseStatus.PolicyViolation,
            $"The client sent more than {Settings.MaxMessagesPerSecond} messages per second. Send fewer messages.");
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

        // Allow one byte more than the limit. If the client fills this byte, the message is too big.
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
        {
            Refuse(
                $"A message is larger than {nameof(Settings.MaxMessageBytes)} ({maxBytes}). Send smaller messages.");
        }
        else if (_smallFragments > maxFragments)
        {
            Refuse($"A message exceeds {nameof(Settings.MaxSmallFragments)} ({maxFragments}). Send larger fragments.");
        }

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
            // A Web PubSub client of Microsoft that detects a dead transport sends a close frame without a code and
            // then reconnects.
            await WebSocket.CloseOutputAsync(WebSocketCloseStatus.NormalClosure, null, CancellationToken.None);
            return status;
        }

        // Answer a close frame without a code with close code 1000. .NET uses the code 1005 as a placeholder, but a
        // frame must not contain this code (RFC 6455, section 7.4.1).
        var isFirst = status == WebSocketCloseStatus.Empty
            ? connection.Close(EndReason.ClosedByPeer, WebSocketCloseStatus.NormalClosure, null)
            : connection.Close(EndReason.ClosedByPeer, status, WebSocket.CloseStatusDescription);
        return isFirst ? status : null;
    }

    /// <summary>
    /// Detects a handler that takes long. One timer watches all messages of a connection, because a timer for each
    /// message would be expensive. The watch ends when its timer finds no handler, so an idle connection has no watch.
    /// </summary>
    sealed class HandlerWatch
    {
        readonly Lock _gate = new();
        readonly MessageReceiver _receiver;
        readonly ITimer _timer;
        Task? _handling;
        Task _seen; // The handler that ran when the timer started.
        Task<HandledMessage>? _answering;
        bool _hasEnded;

        public HandlerWatch(MessageReceiver receiver, Task handling)
        {
            (_receiver, _handling, _seen) = (receiver, handling, handling);
            // The lock publishes the field to the thread of the timer.
            lock (_gate) _timer = receiver.StartTimer(this);
        }

        /// <summary>Watches the next handler. Returns false if the watch has ended.</summary>
        public bool TryStart(Task handling)
        {
            lock (_gate)
            {
                if (!_hasEnded) _handling = handling;
                return !_hasEnded;
            }
        }

        /// <summary>
        /// Records that the handler has completed. Returns the task that answers control frames. Returns null if the
        /// handler did not take long.
        /// </summary>
        public Task<HandledMessage>? Stop()
        {
            lock (_gate)
            {
                _handling = null;
                return _answering;
            }
        }

        public void OnTimer()
        {
            lock (_gate)
            {
                if (_hasEnded) return;
                if (_handling is not null && _handling != _seen)
                {
                    _seen = _handling;
                    _timer.Change(MaxControlFrameDelay, Timeout.InfiniteTimeSpan);
                    return;
                }

                if (_handling is not null) _answering = _receiver.AnswerControlFramesAsync(_handling);
                End();
            }
        }

        public void End()
        {
            lock (_gate)
            {
                _hasEnded = true;
                _timer.Dispose();
            }

            Interlocked.CompareExchange(ref _receiver._watch, null, this);
        }
    }

    /// <summary>The state of the receiver after the protocol has handled a message.</summary>
    readonly struct HandledMessage
    {
        public HandledMessage(ValueTask<ValueWebSocketReceiveResult> waiting) => Waiting = waiting;

        public HandledMessage(WebSocketCloseStatus? closedByPeer) => (IsClosed, ClosedByPeer) = (true, closedByPeer);

        /// <summary>The wait for the next message.</summary>
        public ValueTask<ValueWebSocketReceiveResult> Waiting { get; }

        /// <summary>True if the client closed the connection during the wait.</summary>
        public bool IsClosed { get; }

        /// <summary>See <see cref="RunAsync"/>.</summary>
        public WebSocketCloseStatus? ClosedByPeer { get; }
    }
}
