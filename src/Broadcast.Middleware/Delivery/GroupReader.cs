using System.Diagnostics;
using System.Diagnostics.CodeAnalysis;
using System.Threading.Tasks.Sources;
using Broadcast.Middleware.Diagnostics;
using Broadcast.Middleware.Logs;

namespace Broadcast.Middleware.Delivery;

/// <summary>
/// Reads one group for code of the app. A reader has a cursor, but no connection. The pump takes consecutive messages
/// from the log, and the consumer copies these messages one by one.
/// </summary>
/// <remarks>
/// Invariants: <see cref="Run"/>, <see cref="OnNewMessages"/> and all methods that they call run on the thread of the
/// pump. The pump changes the current messages only while the consumer waits. Other threads only write a request to a
/// field and then post the reader. The reader does not reference its consumer, so the garbage collector can free a
/// consumer that was not disposed.
/// </remarks>
/// <param name="pump">The pump that runs the reader.</param>
/// <param name="reader">Reads the logs of the group.</param>
/// <param name="whenSlow">See <see cref="ReadOptions.SlowConsumer"/>.</param>
/// <param name="maxBacklog">See <see cref="BroadcastOptions.MaxBacklogBytes"/>.</param>
/// <param name="groups">Provides the group.</param>
/// <param name="metrics">Counts readers and dropped messages.</param>
[SuppressMessage("Design", "CA1001", Justification = "A cancellation token registration needs no disposal.")]
sealed class GroupReader(
    Pump pump,
    LogReader reader,
    SlowConsumer whenSlow,
    int maxBacklog,
    IGroupProvider groups,
    BroadcastMetrics metrics) : PumpItem, IGroupSubscriber, IValueTaskSource<bool>
{
    const string NotRecovered =
        "The group no longer has all messages after the position, or the position belongs to another group or epoch. " +
        "Load the current state, and read without a position. Or set SlowConsumer in ReadOptions.";

    const string Lost = "The cluster has lost messages of the group. Load the current state, and read again.";

    ManualResetValueTaskSourceCore<bool> _next = new() { RunContinuationsAsynchronously = true };
    CancellationTokenRegistration _canceling, _stopping;
    Group? _group;
    Cursor? _cursor;

    // Threads other than the thread of the pump may write to these fields.
    volatile bool _isWaiting;
    volatile bool _isDisposed;
    Exception? _cancellation;
    long _lastSequence = long.MaxValue;
    bool _hasLeft;

    // While the consumer waits, only the thread of the pump uses these fields. Otherwise, only the consumer uses these
    // fields.
    Block? _block;
    int _index, _end;
    bool _isTransient;
    ReceivedMessage? _gap;

    // Only the thread of the pump uses these fields.
    bool _hasEnded;
    Exception? _error;
    long _skipped;

    public string Id => "reader"; // No connection has this ID, so no message excludes the reader.

    public bool IsConnection => false;

    public Pump Pump => pump;

    /// <summary>Joins a group. Returns false if another thread has removed the group.</summary>
    public bool TryJoin(Group group, Replay replay)
    {
        Debug.Assert(_cursor is null);
        if (group.Join(this, new(replay, null, default, false), out var recovered, out var position) is not { } cursor)
            return false;
        (_group, _cursor) = (group, cursor);
        metrics.ReaderOpened();
        if (recovered is not false) return true;
        if (whenSlow == SlowConsumer.Disconnect) Cancel(new MessagesMissedException(NotRecovered));
        else _gap = ReceivedMessage.CreateGap(null, position);
        return true;
    }

    /// <summary>Ends the reader when a token is canceled. Call this method once, after <see cref="TryJoin"/>.</summary>
    /// <param name="canceled">Cancels the reader.</param>
    /// <param name="stopping">Ends the reader after the messages that were published before the cancellation.</param>
    public void EndWhen(CancellationToken canceled, CancellationToken stopping)
    {
        _canceling = canceled.UnsafeRegister(
            static (state, token) => ((GroupReader)state!).Cancel(new OperationCanceledException(token)), this);
        _stopping = stopping.UnsafeRegister(static state => ((GroupReader)state!).Finish(), this);
        // The pump may have ended the reader before the registrations. Without the barrier, this thread and the thread
        // of the leave could both read old values, and the registrations would stay.
        Interlocked.MemoryBarrier();
        if (Volatile.Read(ref _hasLeft)) Unregister();
    }

    /// <summary>
    /// Waits until <see cref="TryRead"/> finds an item. The result is false if the reader has ended. The consumer must
    /// wait for this task before the next call of any method.
    /// </summary>
    public ValueTask<bool> WaitAsync()
    {
        _next.Reset();
        _isWaiting = true;
        Post();
        return new(this, _next.Version);
    }

    /// <summary>
    /// Takes the next available item and copies its payload. Returns false if no item is available now.
    /// </summary>
    public bool TryRead(out ReceivedMessage item)
    {
        if (_gap is { } gap)
        {
            (item, _gap) = (gap, null);
            return true;
        }

        item = default;
        if (_block is not { } block) return false;
        var metadata = block[_index].Metadata;
        var payload = block.PayloadOf(_index, out var type);
        var message = new Message(payload.ToArray(), type)
        {
            Key = block.KeyOf(_index),
            IsJson = metadata is { IsJson: true },
            DisableCompression = metadata is { DisablesCompression: true },
            IsTransient = _isTransient,
            Tags = metadata?.Tags,
        };
        item = new(message, _isTransient ? null : new Position(_group!.Epoch, block.OffsetOf(_index)));
        if (++_index == _end) _block = null; // The reader must not keep the block in memory until the next message.
        return true;
    }

    /// <summary>Leaves the group and ends the reader.</summary>
    public void Dispose()
    {
        _isDisposed = true;
        Leave();
        Post();
    }

    public void AddCursor(Cursor cursor) => reader.Add(cursor);

    public void Post() => pump.Post(this);

    public override void Run()
    {
        ClearPosted();
        OnNewMessages();
    }

    public void OnNewMessages()
    {
        try
        {
            TakeTurn();
        }
        catch (Exception error)
        {
            // The other subscribers of this pump continue.
            End(error);
            Complete();
        }
    }

    public void OnPrivateLogRead(long readByte)
    {
    }

    bool IValueTaskSource<bool>.GetResult(short token) => _next.GetResult(token);

    ValueTaskSourceStatus IValueTaskSource<bool>.GetStatus(short token) => _next.GetStatus(token);

    void IValueTaskSource<bool>.OnCompleted(
        Action<object?> continuation, object? state, short token, ValueTaskSourceOnCompletedFlags flags) =>
        _next.OnCompleted(continuation, state, token, flags);

    void Cancel(Exception reason)
    {
        Interlocked.CompareExchange(ref _cancellation, reason, null);
        Post();
    }

    /// <summary>Ends the reader after the messages that were published before this call.</summary>
    void Finish()
    {
        Volatile.Write(ref _lastSequence, reader.NewestSequence);
        Post();
    }

    void TakeTurn()
    {
        // Read this field first. If the consumer waits, the next reads then find each cancellation that happened before
        // the wait.
        var isWaiting = _isWaiting;
        if (_isDisposed) End(null);
        else if (Volatile.Read(ref _cancellation) is { } cancellation) End(cancellation);
        // After the end, the reader may still get the cursor of a new log for transient messages. Release this cursor.
        if (_hasEnded) reader.AdmitCursors();
        else if (!isWaiting && reader.IsBehindBy(maxBacklog)) CatchUp();
        if (!isWaiting) return; // If the consumer waits in the meantime, the consumer posts the reader.
        if (_hasEnded || _gap is not null || TryTake()) Complete();
    }

    /// <summary>Completes the task of the consumer, if the consumer waits.</summary>
    void Complete()
    {
        if (!_isWaiting) return;
        _isWaiting = false;
        var hasItem = _block is not null || _gap is not null;
        if (hasItem || _error is null) _next.SetResult(hasItem);
        else _next.SetException(_error);
        if (!hasItem) _error = null; // Like an iterator, the reader throws once and then returns false.
    }

    /// <summary>Takes the next messages or a gap. Returns false if the consumer must wait.</summary>
    bool TryTake()
    {
        var last = Volatile.Read(ref _lastSequence);
        if (whenSlow == SlowConsumer.Conflate)
            CountDropped(reader.Conflate(last, SlowConsumerHandler.MaxCompactedBytes));
        while (_skipped == 0 && !_hasEnded)
        {
            if (reader.TryTake(last, out var run, out var source))
            {
                if (source is null) continue;
                _block = source.Block;
                _end = (int)(source.Offset - _block.FirstOffset);
                _index = _end - run.Messages;
                _isTransient = source.IsTransient;
                return true;
            }

            if (!reader.HasMissed)
            {
                if (last != long.MaxValue) End(null);
                return _hasEnded;
            }

            CatchUp();
        }

        if (_skipped > 0) _gap = ReceivedMessage.CreateGap(_skipped);
        _skipped = 0;
        return true;
    }

    /// <summary>Moves a slow reader forward. Ends the reader if the reader cannot continue.</summary>
    void CatchUp()
    {
        var canContinue = reader.TryCatchUp(
            maxBacklog, Volatile.Read(ref _lastSequence), SlowConsumerHandler.MaxCompactedBytes,
            out var skipped, out var replaced);
        CountDropped(skipped + replaced);
        _skipped += skipped;
        if (canContinue) return;
        var problem = reader.IsLost
            ? Lost
            : $"The reader is more than {nameof(BroadcastOptions.MaxBacklogBytes)} ({maxBacklog}) behind. " +
                $"Read faster, raise the option, or set {nameof(SlowConsumer)} in {nameof(ReadOptions)}.";
        End(new MessagesMissedException(problem));
    }

    void CountDropped(long messages)
    {
        if (messages > 0) metrics.Dropped(messages);
    }

    void End(Exception? error)
    {
        if (_hasEnded) return;
        (_hasEnded, _error) = (true, error);
        reader.Close();
        // The pump must not wait, and the release of a group may run code of a backplane.
        ThreadPool.UnsafeQueueUserWorkItem(static reader => reader.Leave(), this, preferLocal: false);
    }

    void Leave()
    {
        if (_cursor is null || Interlocked.Exchange(ref _hasLeft, true)) return;
        Unregister();
        groups.Release(_group!, _group!.Leave(_cursor, this));
        metrics.ReaderEnded();
    }

    void Unregister()
    {
        _canceling.Unregister();
        _stopping.Unregister();
    }
}
