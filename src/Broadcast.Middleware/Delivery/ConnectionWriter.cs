using System.Buffers;
using System.Diagnostics;
using System.Net.WebSockets;
using System.Runtime.CompilerServices;
using Broadcast.Middleware.Diagnostics;
using Broadcast.Middleware.Logs;
using Broadcast.Middleware.Messages;

namespace Broadcast.Middleware.Delivery;

/// <summary>
/// The only writer of a connection. The writer reads the logs of the connection through cursors, and writes new
/// messages in the order in which they were published. The writer starts no other write while a write is pending.
/// </summary>
/// <remarks>
/// Invariants: one writer per connection. <see cref="Run"/>, <see cref="OnNewMessages"/> and all methods that they call
/// run on the thread of the pump. Other threads only write a request to a field and then post the writer. A turn of the
/// writer is one call of <see cref="OnNewMessages"/>.
/// </remarks>
sealed class ConnectionWriter : PumpItem, IGroupSubscriber
{
    // A turn ends after this number of writes. Otherwise, a connection whose writes complete at once would delay the
    // other connections.
    const int WritesPerTurn = 16;

    readonly IWriterOwner _owner;
    readonly Heartbeat _heartbeat;
    readonly LogReader _reader;
    readonly EndpointSettings _settings;

    // Other threads write to these fields and then post the writer.
    Sink? _sink;
    TransportChange? _transportChange;
    ControlFrame? _controlFrame;
    CloseRequest? _close;
    CloseResult? _closeResult;
    TaskCompletionSource? _detach;
    long _acknowledged;

    volatile WriterState _state; // Only the thread of the pump changes this field.
    volatile bool _isCloseFrameSent; // The value stays true after the end of the connection.
    bool _positionIsDue;
    ControlFrame? _writingControlFrame;
    PendingWrite? _pending; // The first write that does not complete at once creates this object.
    KeepAlive _keepAlive;
    int _writingMessages;
    long _handledAcknowledgement;
    TransportChange? _resumed; // The writer must send the opening of this change first.

    /// <param name="owner">The connection.</param>
    /// <param name="pump">The pump of the connection.</param>
    /// <param name="reader">Reads the logs of the connection.</param>
    /// <param name="heartbeat">Gives the writer a turn at each beat.</param>
    /// <param name="settings">The settings of the connection.</param>
    public ConnectionWriter(
        IWriterOwner owner, Pump pump, LogReader reader, Heartbeat heartbeat, EndpointSettings settings)
    {
        _owner = owner;
        Pump = pump;
        _reader = reader;
        _heartbeat = heartbeat;
        _settings = settings;
    }

    public Pump Pump { get; }

    public string Id => _owner.Id;

    public bool IsConnection => true;

    /// <summary>The code of the close frame. Null without a close request.</summary>
    public WebSocketCloseStatus? ClosingStatus => Volatile.Read(ref _close)?.Status;

    /// <summary>
    /// A task that completes when the server has sent the close frame, or when the writer can no longer send the frame.
    /// Call <see cref="TryClose"/> first.
    /// </summary>
    public Task Closed => Volatile.Read(ref _close)?.Completed.Task ?? Task.CompletedTask;

    /// <summary>True if the server has sent a close frame on the current transport.</summary>
    public bool IsCloseFrameSent => _isCloseFrameSent;

    /// <summary>
    /// The start of the pending write: see <see cref="Heartbeat.Now"/>. Null without a pending write. Any thread may
    /// read this property. The value may be out of date.
    /// </summary>
    public long? WritingSince => _pending is { IsActive: true } pending ? pending.StartedAt : null;

    bool IsWriting => _pending is { IsActive: true };

    /// <summary>The highest sequence number to send before a close frame.</summary>
    long LastSequence => Volatile.Read(ref _close)?.LastSequence ?? long.MaxValue;

    public void Post() => Pump.Post(this);

    /// <summary>Starts to send through a sink.</summary>
    public void Open(Sink sink)
    {
        Volatile.Write(ref _sink, sink);
        Post();
    }

    /// <summary>
    /// Holds the opening and the messages after the opening, until <see cref="ReleaseOpening"/> or a close request.
    /// Call this method before the connection joins its first groups. Otherwise, a client could receive the opening of
    /// one group, and then miss a message to a group that the connection has not joined yet.
    /// </summary>
    public void HoldOpening() => _reader.HoldsOpening = true;

    /// <summary>Sends the opening and the messages since <see cref="HoldOpening"/>.</summary>
    public void ReleaseOpening()
    {
        _reader.HoldsOpening = false;
        Post();
    }

    /// <summary>
    /// Sends every message that was published before the call, and then a close frame. Only the first request has an
    /// effect.
    /// </summary>
    /// <returns>True for the first request.</returns>
    public bool TryClose(WebSocketCloseStatus status, string? reason)
    {
        var request = new CloseRequest(status, reason, _reader.NewestSequence);
        if (Interlocked.CompareExchange(ref _close, request, null) is not null) return false;
        Post();
        return true;
    }

    /// <summary>
    /// Ends the use of the sink permanently. The task completes when the writer no longer uses the sink. A pending
    /// write delays the task until the write completes or the transport is aborted.
    /// </summary>
    public Task DetachAsync()
    {
        var detached = new TaskCompletionSource(TaskCreationOptions.RunContinuationsAsynchronously);
        Volatile.Write(ref _detach, detached);
        Post();
        return detached.Task;
    }

    /// <summary>
    /// Ends the use of the sink until <see cref="ResumeAsync"/>. The task has the same meaning as the task of
    /// <see cref="DetachAsync"/>.
    /// </summary>
    public Task SuspendAsync() => ChangeTransportAsync(new(null, default));

    /// <summary>
    /// Continues on another transport. The writer first sends the opening, and then every unacknowledged message. The
    /// result is false if some of these messages are no longer available.
    /// </summary>
    public Task<bool> ResumeAsync(Sink sink, ReadOnlyMemory<byte> opening) => ChangeTransportAsync(new(sink, opening));

    /// <summary>
    /// Sends an answer to a control frame of the client. The writer sends the answer before further messages.
    /// </summary>
    /// <remarks>The caller must wait for <see cref="ControlFrame.Sent"/> before the next call.</remarks>
    public void WriteControlFrame(ControlFrame frame)
    {
        Volatile.Write(ref _controlFrame, frame);
        Post();
    }

    /// <summary>Records that the client has received every message up to this sequence number.</summary>
    public void OnAcknowledged(long sequence)
    {
        if (sequence <= Volatile.Read(ref _acknowledged)) return;
        Volatile.Write(ref _acknowledged, sequence);
        Post();
    }

    /// <summary>Returns the number of unsent bytes: see <see cref="LogReader.Backlog"/>.</summary>
    public Task<long> MeasureBacklogAsync() => BacklogProbe.MeasureAsync(Pump, () => _reader.Backlog);

    public void AddCursor(Cursor cursor) => _reader.Add(cursor);

    public override void Run()
    {
        ClearPosted();
        OnNewMessages();
    }

    public int Prefetch() => _reader.Prefetch() + (_sink?.Prefetch() ?? 0);

    public void OnNewMessages()
    {
        try
        {
            TakeTurn();
        }
        catch (SubscriptionFilterException error)
        {
            // The reader must not call the filter again. So the client receives only the close frame.
            _reader.Close();
            _owner.OnFilterFailed(error.Cause);
        }
        catch (Exception error)
        {
            // For example, a listener of the metrics threw an exception. The other connections of this pump continue.
            Fail(error);
        }
    }

    public void OnAnnounced(Cursor cursor) => _reader.Activate(cursor);

    public void OnPrivateLogRead(long readByte) => _owner.OnPrivateLogRead(readByte);

    Task<bool> ChangeTransportAsync(TransportChange change)
    {
        Volatile.Write(ref _transportChange, change);
        Post();
        return change.Completed.Task;
    }

    void TakeTurn()
    {
        if (_keepAlive.Beat != _heartbeat.Beat) OnHeartbeat();
        if (_reader.Resend is { } resend) Acknowledge(resend);
        if (Interlocked.Exchange(ref _closeResult, null) is { } result) OnCloseCompleted(result);
        if (_pending is { IsActive: true } pending)
        {
            if (!pending.IsCompleted)
            {
                OnStillWriting();
                return;
            }

            EndPendingWrite(pending);
        }

        // The HTTP request must not end while a FrameSink still sends the close frame. An abort of the transport ends
        // this write. Do not wait for other sinks, because another WebSocket implementation may ignore an abort.
        if (_state == WriterState.Closing && _sink is FrameSink) return;
        if (Volatile.Read(ref _detach) is { } detached) Detach(detached);
        else if (Interlocked.Exchange(ref _transportChange, null) is { } change) ChangeTransport(change);
        else if (_state == WriterState.Suspended) OnStillSuspended();
        else if (_state == WriterState.Failed) FailRequests();
        else Flush();

        // Check the backlog now. Without a later publish, the writer may get no turn before the next heartbeat.
        if (IsWriting) CatchUpIfBehind();
    }

    void OnStillSuspended()
    {
        // The HTTP request of the lost transport may still try to answer a control frame.
        FailControlFrames();
        EndRecoveryIfImpossible();
    }

    void OnStillWriting()
    {
        if (_transportChange is null) CatchUpIfBehind();
        // A log has lost messages that the client needs. If the log belongs to the group of all connections, the writer
        // gets no more heartbeats. Without heartbeats, the server cannot detect a client that does not read. So close
        // the connection now. The close timeout then ends the connection of such a client.
        if (_reader.WillBeLost()) _owner.OnMessagesLost();
    }

    void OnHeartbeat()
    {
        // Another thread counts the beats. So read the number only once. Otherwise, the writer could miss a beat
        // between two reads.
        var beat = _heartbeat.Beat;
        if (_settings.HasHeartbeatMessages)
            _keepAlive.CheckMessage(beat, _heartbeat.CountBeats(_settings.HeartbeatInterval), Id[0]);
        var isProgressing = _pending is { IsActive: true, IsCompleted: false } pending && CheckProgress(pending);
        // A client that receives the pending write is alive, and a ping must wait for the write. During a close, the
        // close timeout applies.
        var isClosing = ClosingStatus is not null || _state is WriterState.Closing or WriterState.Closed;
        var isSilenceAllowed = isProgressing || _owner.IsBusy || isClosing;
        var received = Volatile.Read(ref _sink)?.Received;
        if (_keepAlive.IsPeerLost(beat, _heartbeat.Now, _settings, received, isSilenceAllowed))
            _owner.Abort(EndReason.KeepAliveTimeout);
        _owner.OnHeartbeat();
        _reader.Resend?.MoveBookmarks();
        _positionIsDue = _reader.HasFilters;
    }

    /// <summary>
    /// Returns true if the client has received bytes since the last heartbeat. Aborts the connection if the write has
    /// stalled for too long.
    /// </summary>
    bool CheckProgress(PendingWrite write)
    {
        if (_sink!.Acknowledged is { } acknowledged && acknowledged != write.Acknowledged)
        {
            (write.Acknowledged, write.ProgressedAt) = (acknowledged, _heartbeat.Now);
            return true;
        }

        var timeout = _settings.SendTimeout;
        if (timeout != Timeout.InfiniteTimeSpan && _heartbeat.Now - write.ProgressedAt >= timeout.TotalMilliseconds)
            _owner.Abort(EndReason.SendTimeout);
        return false;
    }

    void Acknowledge(ResendTracker resend)
    {
        if (Volatile.Read(ref _acknowledged) is var sequence && sequence == _handledAcknowledgement) return;
        _handledAcknowledgement = sequence;
        if (!resend.TryAcknowledge(sequence)) _owner.OnInvalidAcknowledgement(sequence);
        else if (sequence > resend.Acknowledgements.HighestBefore) _owner.OnTransportConfirmed();
    }

    void Flush()
    {
        if (Volatile.Read(ref _sink) is not { } sink) return;
        if (_state == WriterState.Created) SetState(WriterState.Open);
        for (var writes = 0; writes < WritesPerTurn; writes++)
        {
            var frames = GetNext(sink);
            if (frames.IsEmpty || !TryWrite(sink, frames) || _state == WriterState.Failed) return;
        }

        Post();
    }

    /// <summary>
    /// Returns the next bytes to write. The order is: control frames, the opening, a ping, a heartbeat message,
    /// notices, messages, the position, and the closing message. Afterwards, this method starts a requested close.
    /// </summary>
    ReadOnlyMemory<byte> GetNext(Sink sink)
    {
        if (_state == WriterState.Closing) return default;
        if (Interlocked.Exchange(ref _controlFrame, null) is { } control)
        {
            if (_state != WriterState.Closed)
            {
                _writingControlFrame = control;
                return control.Bytes;
            }

            // After a close frame, the client expects no other frame.
            control.Complete(null);
        }

        if (_state == WriterState.Closed)
        {
            // The server may have answered a close frame of the client before the close request arrived.
            CompleteClose();
            return default;
        }

        if (_resumed is { } resumed)
        {
            _resumed = null;
            if (!resumed.Opening.IsEmpty) return resumed.Opening;
        }

        if (_keepAlive.TakePing()) return sink.Ping;
        if (_keepAlive.TakeMessage() && _owner.HeartbeatMessage is { IsEmpty: false } message) return message;
        if (sink.TakeNotice() is { IsEmpty: false } notice) return notice;
        return GetNextMessages(sink);
    }

    ReadOnlyMemory<byte> GetNextMessages(Sink sink)
    {
        // Read the close request before the logs. The writer then sends every message that was published before the
        // request.
        var close = Volatile.Read(ref _close);
        var lastSequence = LastSequence;
        while (true)
        {
            var buffer = _reader.HasFilters ? Pump.RunBuffer : null;
            if (_reader.TryTake(lastSequence, out var run, sink.Compression, buffer))
            {
                _writingMessages = run.Messages;
                if (run.PublishedAt != 0) _owner.OnDelivering(run.PublishedAt);
                return run.Frames;
            }

            if (!_reader.HasMissed || !TryCatchUp()) break;
            if (sink.TakeNotice() is { IsEmpty: false } notice) return notice;
        }

        if (_reader.IsClosed) close = _close;
        var needsPosition = _positionIsDue || (_reader.HasFilters && close is { IsAnnounced: false });
        if (needsPosition && TakePosition() is { IsEmpty: false } position) return position;
        if (close is null) return default;
        if (!close.IsAnnounced)
        {
            close.IsAnnounced = true;
            if (_owner.GetClosingMessage(close.Status, close.Reason) is { IsEmpty: false } message) return message;
        }

        SetState(WriterState.Closing);
        _ = SendCloseAsync(sink, close);
        return default;
    }

    /// <summary>
    /// Returns the position of the client after messages that a filter rejected. Without this position, the client
    /// would ask for the rejected messages after a reconnect. The history may no longer have these messages.
    /// </summary>
    ReadOnlyMemory<byte> TakePosition()
    {
        _positionIsDue = false;
        return _reader.TakePosition();
    }

    /// <summary>Returns true if the write completed. Otherwise the write is pending or has failed.</summary>
    bool TryWrite(Sink sink, ReadOnlyMemory<byte> frames)
    {
        ConfiguredValueTaskAwaitable.ConfiguredValueTaskAwaiter write;
        try
        {
#pragma warning disable CA2012 // Each awaiter is used only once. PendingWrite saves an allocation for each write.
            write = sink.WriteAsync(frames).ConfigureAwait(false).GetAwaiter();
#pragma warning restore CA2012
        }
        catch (Exception error)
        {
            Fail(error);
            return false;
        }

        if (write.IsCompleted)
        {
            EndWrite(write);
            return true;
        }

        _pending ??= new PendingWrite(this);
        // The pump uses its buffer for the next connection, so the pending write takes the array.
        if (_reader.HasFilters) _pending.Buffer = Pump.RunBuffer.TryDetach(frames);
        _pending.Begin(write, _heartbeat.Now);
        return false;
    }

    void EndPendingWrite(PendingWrite pending)
    {
        pending.End();
        var isWritten = EndWrite(pending.Write);
        if (pending.Buffer is { } buffer)
        {
            pending.Buffer = null;
            // A failed write may still use the array, so leave the array to the garbage collector.
            if (isWritten) ArrayPool<byte>.Shared.Return(buffer);
        }

        if (!isWritten) return;
        SlowConsumerHandler.OnWriteCompleted(_reader, _heartbeat.Now - pending.StartedAt, LastSequence, _owner);
    }

    /// <summary>Returns false if the write failed.</summary>
    bool EndWrite(ConfiguredValueTaskAwaitable.ConfiguredValueTaskAwaiter write)
    {
        try
        {
            write.GetResult();
        }
        catch (Exception error)
        {
            Fail(error);
            return false;
        }

        Pump.CountDelivered(_writingMessages);
        _writingMessages = 0;
        if (_writingControlFrame is not { } control) return true;
        _writingControlFrame = null;
        if (control.IsClose) OnCloseFrameSent();
        control.Complete(null);
        return true;
    }

    /// <remarks>While this method waits for the sink, the writer sends nothing.</remarks>
    async Task SendCloseAsync(Sink sink, CloseRequest close)
    {
        Exception? error = null;
        try
        {
            await sink.CloseAsync(close.Status, close.Reason).ConfigureAwait(false);
        }
        catch (Exception exception)
        {
            error = exception;
        }

        Volatile.Write(ref _closeResult, new CloseResult(sink, error));
        Post();
    }

    void OnCloseCompleted(CloseResult result)
    {
        // The client may have reconnected in the meantime. In this case, ignore the result of the old transport.
        if (result.Sink != _sink) return;
        if (result.Error is null) OnCloseFrameSent();
        else Fail(result.Error);
    }

    void OnCloseFrameSent()
    {
        _isCloseFrameSent = true;
        if (_state is WriterState.Open or WriterState.Closing) SetState(WriterState.Closed);
        _owner.OnCloseFrameSent();
        CompleteClose();
    }

    void CompleteClose() => Volatile.Read(ref _close)?.Completed.TrySetResult();

    void CatchUpIfBehind()
    {
        if (_reader.IsBehindBy(_settings.MaxBacklogBytes)) TryCatchUp();
    }

    bool TryCatchUp()
    {
        if (_reader.IsClosed) return false;
        var maxBacklog = _settings.MaxBacklogBytes;
        if (SlowConsumerHandler.TryCatchUp(_reader, maxBacklog, LastSequence, _sink, _owner)) return true;
        // A close request promises that the client receives every earlier message. If the writer has not started to
        // send the close frame, the close code must now report the missing messages.
        var isTooLate = _state is WriterState.Closing or WriterState.Closed;
        if (!isTooLate && _close is { Status: not CloseStatus.TryAgainLater } close)
        {
            var reason = _reader.IsLost ? CloseReasons.MessagesLost : CloseReasons.TooSlow;
            _close = close with { Status = CloseStatus.TryAgainLater, Reason = reason };
        }

        return false;
    }

    void Fail(Exception error)
    {
        if (_state is WriterState.Failed or WriterState.Detached) return;
        // After a close frame, the connection counts as closed, not as failed.
        if (_state is not (WriterState.Closed or WriterState.Suspended)) SetState(WriterState.Failed);
        // A client that can reconnect keeps its positions in the logs.
        if (!_owner.CanReconnect) _reader.Close();
        FailRequests();
        _owner.Abort(EndReason.Lost, error);
    }

    /// <summary>
    /// Fails the waiting control frames and completes the close request, because the writer sends nothing more on this
    /// transport.
    /// </summary>
    void FailRequests()
    {
        FailControlFrames();
        CompleteClose();
    }

    void FailControlFrames()
    {
        var writing = _writingControlFrame;
        _writingControlFrame = null;
        Complete(writing);
        Complete(Interlocked.Exchange(ref _controlFrame, null));

        static void Complete(ControlFrame? frame) => frame?.Complete(new IOException("The connection has ended."));
    }

    void Detach(TaskCompletionSource detached)
    {
        _reader.Close();
        Debug.Assert(!IsWriting);
        if (_state != WriterState.Detached) SetState(WriterState.Detached);
        FailRequests();
        detached.TrySetResult();
    }

    void ChangeTransport(TransportChange change)
    {
        if (change.Sink is null) Suspend(change);
        else Resume(change, change.Sink);
    }

    void Suspend(TransportChange change)
    {
        FailControlFrames();
        Volatile.Write(ref _sink, null);
        _isCloseFrameSent = false;
        SetState(WriterState.Suspended);
        change.Completed.SetResult(true);
        // Since the last heartbeat, the reader may have read messages that the client does not need again. These
        // messages must not count against the limit of unacknowledged bytes.
        _reader.Resend?.MoveBookmarks();
        EndRecoveryIfImpossible();
    }

    void Resume(TransportChange change, Sink sink)
    {
        var canResume = false;
        try
        {
            canResume = _reader.TryRewind();
        }
        finally
        {
            // The delegate of a subscription filter may throw an exception. The new request must not wait forever.
            if (!canResume) change.Completed.SetResult(false);
        }

        if (!canResume) return;

        // A control frame of the old transport must not reach the new transport.
        FailControlFrames();
        _keepAlive = default;
        _resumed = change;
        Volatile.Write(ref _sink, sink);
        SetState(WriterState.Open);
        change.Completed.SetResult(true);
        Flush();
    }

    void EndRecoveryIfImpossible()
    {
        if (_reader.Resend is not { CanRewind: true }) _owner.OnRecoveryImpossible();
    }

    void SetState(WriterState state)
    {
        Debug.Assert(CanChange(_state, state), $"The writer cannot change from {_state} to {state}.");
        _state = state;
    }

    static bool CanChange(WriterState from, WriterState to) => to switch
    {
        WriterState.Open => from is WriterState.Created or WriterState.Suspended,
        WriterState.Closing => from == WriterState.Open,
        WriterState.Closed => from is WriterState.Open or WriterState.Closing,
        WriterState.Failed => from is WriterState.Created or WriterState.Open or WriterState.Closing,
        WriterState.Suspended => from is not (WriterState.Suspended or WriterState.Detached),
        WriterState.Detached => from != WriterState.Detached,
        _ => false,
    };
}
