using System.Diagnostics;
using System.IO.Pipelines;
using System.Net.WebSockets;
using Broadcast.Middleware.Connections;
using Broadcast.Middleware.Delivery;
using Broadcast.Middleware.Diagnostics;
using Broadcast.Middleware.Filters;
using Broadcast.Middleware.Logs;
using Broadcast.Middleware.Protocols;

namespace Broadcast.Middleware.Http;

/// <summary>
/// Reads the messages of a connection and passes them to its protocol, until the client closes the connection
/// or disconnects.
/// </summary>
/// <param name="connection">The connection.</param>
/// <param name="reader">Reads from the WebSocket.</param>
/// <param name="createContext">Creates the protocol context for the first message.</param>
/// <param name="time">The time provider.</param>
/// <param name="logger">The logger.</param>
/// <param name="metrics">The metrics.</param>
sealed class MessageReceiver(
    Connection connection,
    MessageReader reader,
    Func<Connection, ProtocolContext> createContext,
    TimeProvider time,
    BroadcastLogger logger,
    BroadcastMetrics metrics) : IFirstMessageReceiver
{
    // If a filter takes longer than this time, the server answers control frames while the filter runs. Before this
    // time has passed, the server reads no ping or close frame that follows the message. On a connection whose filter
    // often waits, the time can be twice as long: see HandlerWatch.
    static readonly TimeSpan MaxControlFrameDelay = TimeSpan.FromSeconds(1);

    HandlerWatch? _watch; // Null on an idle connection.

    EndpointSettings Settings => connection.Settings;

    IBroadcastProtocol Protocol => ((ProtocolDescriptor)connection.Format).Protocol;

    /// <summary>
    /// Runs until the client closes the connection. Returns the close code if the client closed first, and null
    /// otherwise.
    /// </summary>
    public async Task<WebSocketCloseStatus?> RunAsync()
    {
        // Messages do not belong to the activity of the handshake, which lasts as long as the connection. The caller
        // does not see this change, because this method is async.
        Activity.Current = null;
        connection.ReceiveGate.OnReceiving();
        // A connect filter may already have received the close frame.
        if (reader.CloseStatus is { } status) return connection.EndReason == EndReason.ClosedByPeer ? status : null;
        try
        {
            // While a connect filter received messages, the reader may have found an error.
            if (reader.Error is not null) await AnswerAsync(ReceivedItem.Error);
            var reading = reader.ReadAsync();
            while (true)
            {
                // While the connection is idle, this method waits for the socket directly. An additional async method
                // would keep a second state machine in memory.
                var item = reader.Take(await reading);
                if (item == ReceivedItem.Close) return await AnswerCloseAsync();
                if (item == ReceivedItem.Message)
                {
                    // After a call of Close, the server drops further messages.
                    var isDropped = connection.Writer.ClosingStatus is not null || !IsWithinRate();
                    var handling = isDropped ? Task.CompletedTask : HandleAsync();
                    if (!handling.IsCompleted)
                    {
                        var handled = await WaitForHandlerAsync(handling);
                        if (handled.IsClosed) return handled.ClosedByPeer;
                        reading = handled.Reading;
                        continue;
                    }

                    reader.Release();
                }
                else if (item != ReceivedItem.Nothing) await AnswerAsync(item);
                reading = reader.ReadAsync();
            }
        }
        finally
        {
            _watch?.End();
            reader.Release();
        }
    }

    public async ValueTask<Message?> ReceiveFirstAsync()
    {
        connection.ReceiveGate.OnReceiving();
        // The client sends no more messages.
        if (reader is not { Error: null, CloseStatus: null }) return null;
        if (connection.Writer.ClosingStatus is not null) return null;
        try
        {
            ReceivedItem item;
            do
            {
                item = reader.Take(await reader.ReadAsync());
                if (item == ReceivedItem.Close) await AnswerCloseAsync();
                else if (item != ReceivedItem.Message) await AnswerAsync(item);
            }
            while (item is not (ReceivedItem.Message or ReceivedItem.Close) && connection.Writer.ClosingStatus is null);

            if (item == ReceivedItem.Close || connection.Writer.ClosingStatus is not null) return null;
            if (!IsWithinRate() || !connection.ReceiveGate.TryStartMessage()) return null;
            metrics.Received();
            // The filter may keep the message, so copy the buffer.
            return new Message(reader.Payload.ToArray(), reader.Type);
        }
        catch (Exception)
        {
            // The client is gone or violates the protocol. RunAsync finds the same error and ends the connection.
            connection.SetEndReason(EndReason.Lost);
            return null;
        }
        finally
        {
            reader.Release();
        }
    }

    /// <summary>
    /// Waits until the protocol has handled the current message. If the wait takes a long time, the server answers
    /// control frames during the wait.
    /// </summary>
    async Task<HandledMessage> WaitForHandlerAsync(Task handling)
    {
        var watch = Watch(handling);
        await handling;
        var answering = watch.Stop();
        var handled = answering is null ? default : await answering;
        // Return the buffer only now. The filter used the buffer, and only one thread at a time may use the reader.
        reader.Release();
        return answering is null ? new(reader.ReadAsync()) : handled;
    }

    HandlerWatch Watch(Task handling)
    {
        if (_watch is { } watch && watch.TryStart(handling)) return watch;
        return _watch = new(this, handling);
    }

    /// <summary>
    /// Answers pings and a close frame while a filter runs. The method stops reading when the next message arrives.
    /// </summary>
    async Task<HandledMessage> AnswerControlFramesAsync(Task handling)
    {
        try
        {
            while (true)
            {
                var reading = reader.ReadAsync().AsTask();
                await Task.WhenAny(handling, reading);
                if (handling.IsCompleted) return new(new ValueTask<ReadResult>(reading));
                var item = reader.Take(await reading, isHandling: true);
                if (item == ReceivedItem.Close) return new(await AnswerCloseAsync());
                if (item == ReceivedItem.NextMessage) return new(reader.ReadAsync());
                if (item != ReceivedItem.Nothing) await AnswerAsync(item);
            }
        }
        catch (Exception)
        {
            // The client is gone, or the client has violated the protocol. The filter must not keep the transport open.
            await handling.WaitAsync(Settings.CloseTimeout, time)
                .ConfigureAwait(ConfigureAwaitOptions.SuppressThrowing);
            if (!handling.IsCompleted) connection.Abort(EndReason.Lost);
            throw;
        }
    }

    /// <summary>Handles a received item that is neither a message nor a close frame.</summary>
    /// <exception cref="WebSocketException">The client has violated the protocol.</exception>
    async ValueTask AnswerAsync(ReceivedItem item)
    {
        const string MaxBytes = nameof(BroadcastOptions.MaxMessageBytes);
        const string MaxFragments = nameof(BroadcastOptions.MaxSmallFragments);
        switch (item)
        {
            case ReceivedItem.Ping:
                await SendAsync(reader.TakePong());
                break;
            case ReceivedItem.TooBig:
                Refuse(
                    $"A message is larger than {MaxBytes} ({Settings.MaxMessageBytes}). Send smaller messages.");
                break;
            case ReceivedItem.TooManyFragments:
                Refuse(
                    $"A message exceeds {MaxFragments} ({Settings.MaxSmallFragments}). Send larger fragments.");
                break;
            case ReceivedItem.Error:
                var (status, reason) = reader.Error!;
                connection.Close(EndReason.ProtocolError, status, reason);
                await connection.Writer.Closed;
                throw new WebSocketException(WebSocketError.Faulted, reason);
        }
    }

    Task SendAsync(byte[] controlFrame)
    {
        var frame = new ControlFrame(controlFrame);
        connection.Writer.WriteControlFrame(frame);
        return frame.Sent;
    }

    ITimer StartTimer(HandlerWatch watch) => BackgroundWork.CreateTimer(
        time,
        static watch => ((HandlerWatch)watch!).OnTimer(),
        watch,
        MaxControlFrameDelay,
        Timeout.InfiniteTimeSpan);

    async Task HandleAsync()
    {
        // Without an answer, the client may send its request again to another node. So the server handles only messages
        // that it can answer before the close frame.
        if (!connection.ReceiveGate.TryStartMessage()) return;
        metrics.Received();
        try
        {
            var context = connection.ProtocolState as ProtocolContext;
            if (context is null) connection.ProtocolState = context = createContext(connection);
            await Protocol.ReceiveAsync(context, new Message(reader.Payload, reader.Type));
        }
        catch (Exception exception)
        {
            connection.CloseFailed(exception);
        }
        finally
        {
            connection.ReceiveGate.OnMessageHandled();
        }
    }

    bool IsWithinRate()
    {
        if (connection.TryCountMessage()) return true;
        logger.RateLimited(connection.Id, Settings.MaxMessagesPerSecond);
        connection.Close(
            EndReason.RateLimited, WebSocketCloseStatus.PolicyViolation,
            $"The client sent more than {Settings.MaxMessagesPerSecond} messages per second. Send fewer messages.");
        return false;
    }

    void Refuse(string problem)
    {
        if (connection.Writer.ClosingStatus is not null) return;
        logger.MessageRefused(connection.Id, problem);
        connection.Close(EndReason.MessageTooBig, WebSocketCloseStatus.MessageTooBig, problem);
    }

    async Task<WebSocketCloseStatus?> AnswerCloseAsync()
    {
        var status = reader.CloseStatus!.Value;
        if (status == WebSocketCloseStatus.Empty && connection is { Session: not null, Writer.ClosingStatus: null })
        {
            // When a Web PubSub client of Microsoft detects a broken transport, the client sends a close frame without
            // a code and then reconnects. The server may answer this frame before it has sent all earlier messages. The
            // client receives the remaining messages after the reconnect.
            await SendAsync(Frame.CreateClose(WebSocketCloseStatus.NormalClosure, null));
            return status;
        }

        // Answer a close frame without a code with close code 1000. .NET uses the code 1005 as a placeholder, but a
        // frame must not contain this code (RFC 6455, section 7.4.1).
        var isFirst = status == WebSocketCloseStatus.Empty
            ? connection.Close(EndReason.ClosedByPeer, WebSocketCloseStatus.NormalClosure, null)
            : connection.Close(EndReason.ClosedByPeer, status, reader.CloseReason);
        return isFirst ? status : null;
    }

    /// <summary>
    /// Detects a handler that takes a long time. One timer watches all messages of a connection, because a timer for
    /// each message would be expensive. The watch ends when its timer finds no running handler, so an idle connection
    /// has no watch.
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
            // The lock makes the field visible to the thread of the timer.
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
        public HandledMessage(ValueTask<ReadResult> reading) => Reading = reading;

        public HandledMessage(WebSocketCloseStatus? closedByPeer) => (IsClosed, ClosedByPeer) = (true, closedByPeer);

        /// <summary>The next read.</summary>
        public ValueTask<ReadResult> Reading { get; }

        /// <summary>True if the client closed the connection during the wait.</summary>
        public bool IsClosed { get; }

        /// <summary>The result of <see cref="RunAsync"/>, if <see cref="IsClosed"/> is true.</summary>
        public WebSocketCloseStatus? ClosedByPeer { get; }
    }
}
