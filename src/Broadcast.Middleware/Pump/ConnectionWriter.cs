using System.Net.WebSockets;
using System.Runtime.CompilerServices;

namespace Broadcast.Middleware;

/// <summary>
/// The one writer of a connection. It reads the connection's logs through its cursors, and sends what is new in the order in which
/// it was published, as long as the connection takes it; while a write is under way, it does nothing.
/// </summary>
/// <remarks>Everything below <see cref="Run()"/> happens on the connection's pump, one call at a time.</remarks>
sealed partial class ConnectionWriter(Connection connection, Pump pump, Broadcaster broadcaster) : PumpItem
{
    // A turn ends after so many writes, so that a connection whose writes all end at once does not keep the others waiting.
    const int WritesPerTurn = 16;

    // A reader whose write took so long lags, and is spared what has been replaced in the meantime.
    const int LagInMilliseconds = 50;

    // What a slow reader may keep for itself: no more than a block, which it would hold on to anyway.
    const int LargestCompaction = 64 * 1024;

    readonly LogReader _reader = new(broadcaster.Clock, Acknowledgements.Of(connection, broadcaster.Options));

    // Set from other threads, before they post the writer.
    Sink? _sink;
    LineChange? _lineChange;
    long _acknowledged;
    FrameStream? _controlFrame;
    CloseRequest? _close;
    TaskCompletionSource? _detach;

    FrameStream? _writingControlFrame;
    PendingWrite? _pending; // From the first write that has to wait.
    KeepAlive _keepAlive;
    int _writingMessages;
    bool _isWriting;
    bool _isClosing;
    bool _closeFrameSent;
    bool _hasGivenUp;
    bool _failed;
    bool _hasNoLine;
    long _acknowledgedBefore;
    ReadOnlyMemory<byte> _opening;

    public Connection Connection => connection;

    public string ConnectionId => connection.Id;

    public Pump Pump => pump;

    int MaxBacklog => broadcaster.Options.MaxBacklogBytes;

    /// <summary>The code of the close frame that was, or will be, sent; null while the connection is to stay.</summary>
    public WebSocketCloseStatus? ClosingStatus => Volatile.Read(ref _close)?.Status;

    /// <summary>After <see cref="TryClose"/>: ends when the close frame has been sent, or when it is clear that it never will be.</summary>
    public Task Closed => Volatile.Read(ref _close)?.Sent.Task ?? Task.CompletedTask;

    /// <summary>Whether the peer has been told, by a close frame, that nothing more will come.</summary>
    public bool CloseFrameSent => Volatile.Read(ref _closeFrameSent);

    /// <summary>Begins to send.</summary>
    public void Open(Sink sink)
    {
        Volatile.Write(ref _sink, sink);
        pump.Post(this);
    }

    /// <summary>Sends what was published before, then the close frame. True for the first request, which is the one that counts.</summary>
    public bool TryClose(WebSocketCloseStatus status, string? reason)
    {
        if (Interlocked.CompareExchange(ref _close, new(status, reason, broadcaster.Clock.Last), null) is not null) return false;
        pump.Post(this);
        return true;
    }

    /// <summary>Stops for good. When the task ends, the sink is no longer in use; a write under way ends only if its peer lets it or is cut off.</summary>
    public Task DetachAsync()
    {
        var detached = new TaskCompletionSource(TaskCreationOptions.RunContinuationsAsynchronously);
        Volatile.Write(ref _detach, detached);
        pump.Post(this);
        return detached.Task;
    }

    public void WriteControlFrame(FrameStream frame)
    {
        Volatile.Write(ref _controlFrame, frame);
        pump.Post(this);
    }

    public void OnStreamDisposed()
    {
        if (!CloseFrameSent) connection.Abort(EndReason.Lost);
    }

    public override void Run(Pump _)
    {
        ClearPosted();
        Run();
    }

    /// <summary>From any thread: reads one log more. The caller holds the log's gate, and posts the writer afterwards.</summary>
    public void Arrive(Cursor cursor) => _reader.Arrive(cursor);

    /// <summary>There may be something to send.</summary>
    public void Run()
    {
        try
        {
            Turn();
        }
        catch (Exception error)
        {
            // Such as a logger that throws. The others on this pump go on.
            Fail(error);
        }
    }

    void Turn()
    {
        if (_keepAlive.Beat != broadcaster.Heartbeat.Beat) OnBeat();
        if (_reader.Acknowledgements is { } acknowledgements) Acknowledge(acknowledgements);
        if (_isWriting)
        {
            if (!Volatile.Read(ref _pending!.HasEnded))
            {
                if (_lineChange is null) CatchUpIfBehind();
                // With everyone's group the beats may be gone, by which it is found out that a peer takes nothing: from now on the time for the close runs.
                if (broadcaster.Cluster is not null && _reader.IsToBeLost()) connection.CloseLost();
                return;
            }

            EndWait(_pending);
        }

        if (Volatile.Read(ref _detach) is { } detached) Detach(detached);
        else if (Interlocked.Exchange(ref _lineChange, null) is { } change) Change(change);
        else if (_hasNoLine) Watch();
        else if (_failed) GiveUpWriting();
        else Flush();

        // Nothing more may be published that would ask again.
        if (_isWriting && !_hasNoLine) CatchUpIfBehind();
    }

    void CatchUpIfBehind()
    {
        if (_reader.IsBehindBy(MaxBacklog)) TryCatchUp();
    }

    void OnBeat()
    {
        var heartbeat = broadcaster.Heartbeat;
        var progresses = _isWriting && !Volatile.Read(ref _pending!.HasEnded) && Progresses(_pending, heartbeat);
        // A peer that takes what is being written is there, and no ping can reach it now. After the goodbye the time for its answer runs.
        var isNotAsked = progresses || connection.IsBusy || _isClosing || CloseFrameSent;
        if (_keepAlive.IsPeerLost(heartbeat, Volatile.Read(ref _sink)?.Heard, isNotAsked)) connection.Abort(EndReason.KeepAliveTimeout);
        connection.OnBeat();
        _reader.MoveBookmarks();
    }

    bool Progresses(PendingWrite write, Heartbeat heartbeat)
    {
        if (_sink!.Acknowledged is { } acknowledged && acknowledged != write.Acknowledged)
        {
            (write.Acknowledged, write.ProgressedAt) = (acknowledged, heartbeat.Now);
            return true;
        }

        if (heartbeat.Now - write.ProgressedAt >= heartbeat.SendTimeout) connection.Abort(EndReason.SendTimeout);
        return false;
    }

    void Flush()
    {
        if (Volatile.Read(ref _sink) is not { } sink) return;
        for (var writes = 0; writes < WritesPerTurn; writes++)
        {
            var frames = Next(sink);
            if (frames.IsEmpty || !TryWrite(sink, frames) || _failed) return;
        }

        pump.Post(this);
    }

    /// <summary>What is to be written next: the framework's frames, then our ping, then messages, and at last the close frame.</summary>
    ReadOnlyMemory<byte> Next(Sink sink)
    {
        if (Volatile.Read(ref _controlFrame) is { } control)
        {
            (_controlFrame, _writingControlFrame) = (null, control);
            return control.Frame;
        }

        if (_closeFrameSent)
        {
            // A goodbye that comes too late: whoever waits for it waits no longer.
            EndClose();
            return default;
        }

        if (_isClosing) return default;
        if (!_opening.IsEmpty)
        {
            var opening = _opening;
            _opening = default;
            return opening;
        }

        if (_keepAlive.TakePing()) return sink.Ping;
        if (sink.TakeNotice() is { IsEmpty: false } notice) return notice;
        // Read once, and first: what is there when it has been seen goes out before it.
        var close = Volatile.Read(ref _close);
        while (true)
        {
            if (_reader.TryTake(close?.LastSequence ?? long.MaxValue, out var run))
            {
                _writingMessages = run.Messages;
                if (run.PublishedAt != 0) connection.OnDelivering(run.PublishedAt);
                return run.Frames;
            }

            if (!_reader.HasMissed || !TryCatchUp()) break;
            if (sink.TakeNotice() is { IsEmpty: false } late) return late;
        }

        if (_hasGivenUp) close = _close;
        if (close is not null)
        {
            if (!close.HasSaidGoodbye)
            {
                close.HasSaidGoodbye = true;
                if (connection.FormatFor(connection.HomeGroup)?.Closing(close.Status, close.Reason) is { IsEmpty: false } goodbye) return goodbye;
            }

            _isClosing = true;
            _ = SendCloseAsync(sink, close);
        }

        return default;
    }

    /// <summary>True if the write is done; else it goes on, or has failed.</summary>
    bool TryWrite(Sink sink, ReadOnlyMemory<byte> frames)
    {
        ConfiguredValueTaskAwaitable.ConfiguredValueTaskAwaiter write;
        try
        {
#pragma warning disable CA2012 // It is kept, and its result taken once, so that waiting for a write allocates nothing.
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

        _isWriting = true;
        _pending ??= new PendingWrite(this);
        _pending.Begin(write, broadcaster.Heartbeat.Now);
        return false;
    }

    void EndWait(PendingWrite pending)
    {
        _isWriting = false;
        if (!EndWrite(pending.Write) || broadcaster.Heartbeat.Now - pending.Since < LagInMilliseconds) return;
        _reader.Conflate(LastSequence, LargestCompaction, out var leftOut);
        if (leftOut > 0) connection.OnDropped(leftOut);
    }

    /// <summary>False if it has failed.</summary>
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

        pump.CountDelivered(_writingMessages);
        _writingMessages = 0;
        if (_writingControlFrame is not { } control) return true;
        _writingControlFrame = null;
        if (Frame.Opcode(control.Frame.Span) == Frame.Close) OnCloseFrameSent();
        control.Complete(null);
        return true;
    }

    /// <summary>Not a write of this writer: the framework's WebSocket sends the frame through <see cref="WriteControlFrame"/>.</summary>
    async Task SendCloseAsync(Sink sink, CloseRequest close)
    {
        try
        {
            await sink.CloseAsync(close.Status, close.Reason).ConfigureAwait(false);
            OnCloseFrameSent();
        }
        catch (Exception error)
        {
            // Unless the framework had a close frame of its own to send, after a violation of the protocol.
            if (!CloseFrameSent) connection.Abort(EndReason.Lost, error);
            EndClose();
        }
    }

    void OnCloseFrameSent()
    {
        Volatile.Write(ref _closeFrameSent, true);
        EndClose();
    }

    void EndClose() => Volatile.Read(ref _close)?.Sent.TrySetResult();

    /// <summary>
    /// The peer is too slow. Either it goes on with the newest, or the messages it has not taken are given up, so that they hold no
    /// memory, and it is told, if it still reads.
    /// </summary>
    bool TryCatchUp()
    {
        if (_hasGivenUp) return false;
        var goesOn = _reader.TryCatchUp(MaxBacklog, LastSequence, LargestCompaction, out var skipped, out var replaced);
        if (skipped + replaced > 0) connection.OnDropped(skipped + replaced);
        if (goesOn)
        {
            if (skipped > 0) _sink!.OnSkipped(skipped);
            return true;
        }

        _hasGivenUp = true;
        _reader.Close();
        if (_reader.HasLost) connection.CloseLost();
        else connection.CloseSlowConsumer();
        // A goodbye that was to come after what has just been given up must not say that all is well.
        if (!_isClosing && _close is { Status: not CloseStatus.TryAgainLater } close)
            _close = close with { Status = CloseStatus.TryAgainLater, Reason = _reader.HasLost ? Connection.MessagesLost : Connection.TooSlow };
        return false;
    }

    long LastSequence => Volatile.Read(ref _close)?.LastSequence ?? long.MaxValue;

    void Fail(Exception error)
    {
        if (_failed) return;
        _failed = true;
        // One that can come back goes on to read.
        if (connection.Session is null) _reader.Close();
        GiveUpWriting();
        try
        {
            connection.Abort(EndReason.Lost, error);
        }
        catch (Exception)
        {
            // A logger that throws, again.
        }
    }

    /// <summary>Nothing goes out any more on this line: whoever waits for that is told.</summary>
    void GiveUpWriting()
    {
        FailControlFrame();
        EndClose();
    }

    void FailControlFrame()
    {
        var control = _writingControlFrame ?? _controlFrame;
        _writingControlFrame = _controlFrame = null;
        control?.Complete(new IOException("The connection has ended."));
    }

    void Detach(TaskCompletionSource detached)
    {
        _reader.Close();
        if (_isWriting) return;
        GiveUpWriting();
        detached.TrySetResult();
    }

    /// <summary>A write that has to wait.</summary>
    sealed class PendingWrite
    {
        readonly Action _onEnded;

        // Set from other threads, before they post the writer.
        public bool HasEnded;

        public PendingWrite(ConnectionWriter writer) => _onEnded = () =>
        {
            Volatile.Write(ref HasEnded, true);
            writer.Pump.Post(writer);
        };

        public ConfiguredValueTaskAwaitable.ConfiguredValueTaskAwaiter Write { get; private set; }

        /// <summary>As <see cref="Heartbeat.Now"/>.</summary>
        public long Since { get; private set; }

        public long ProgressedAt { get; set; }

        public long Acknowledged { get; set; }

        public void Begin(ConfiguredValueTaskAwaitable.ConfiguredValueTaskAwaiter write, long now)
        {
            (Write, Since, ProgressedAt, HasEnded) = (write, now, now, false);
            write.UnsafeOnCompleted(_onEnded);
        }
    }

    /// <param name="Status">The close code.</param>
    /// <param name="Reason">For the peer's developer.</param>
    /// <param name="LastSequence">The last message that is still sent before.</param>
    sealed record CloseRequest(WebSocketCloseStatus Status, string? Reason, long LastSequence)
    {
        public bool HasSaidGoodbye { get; set; }

        public TaskCompletionSource Sent { get; } = new(TaskCreationOptions.RunContinuationsAsynchronously);
    }
}
