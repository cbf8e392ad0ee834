using System.Buffers;
using System.Diagnostics;
using System.IO.Pipelines;
using System.Net.Sockets;
using System.Runtime.CompilerServices;
using System.Threading.Tasks.Sources;
using Microsoft.AspNetCore.Connections;

namespace Broadcast.Middleware.Transports;

/// <summary>
/// Replaces the output pipe of a transport. A flush sends the bytes to the socket on the flushing thread. If the socket
/// does not take all bytes at once, an asynchronous socket operation sends the rest.
/// </summary>
/// <remarks>
/// The server's own pipe passes every write to another thread. docs/internals/performance.md shows the cost of this
/// step.
/// Invariant: one thread at a time writes and flushes, as with every <see cref="PipeWriter"/>.
/// </remarks>
sealed class InlineWriter(ConnectionContext connection, IDuplexPipe transport, Socket socket) : PipeWriter, IDuplexPipe
{
    // The minimum size of a buffer for new bytes. One write usually has at most this size. The writer holds a buffer
    // only while the buffer contains bytes.
    const int BufferSize = 64 * 1024;

    // The socket has taken the bytes before _sent. The bytes from _sent to _flushed are flushed, but not sent yet. The
    // bytes from _flushed to _end are not flushed yet.
    byte[]? _buffer;
    int _sent;
    int _flushed;
    int _end;

    // The first send that does not complete at once creates this object. Invariant: while a send is pending, _buffer,
    // _sent and _flushed change only under the lock. The writer itself is the lock, which saves an object for each
    // connection.
    PendingFlush? _pending;
    bool _isSending;
    bool _hasMemory; // True while the caller writes into the buffer, between GetMemory and Advance.
    bool _cancelsNext;
    bool _hasFailed;
    bool _isCompleted;

    /// <summary>Creates the writer of a connection.</summary>
    public static InlineWriter Create(ConnectionContext connection, Socket socket)
    {
        try
        {
            socket.Blocking = false;
        }
        catch (ObjectDisposedException)
        {
            // The connection is already aborted. The next write detects the abort.
        }

        return new InlineWriter(connection, connection.Transport, socket);
    }

    /// <summary>Reads a field of the socket, so that the processor loads the socket into its cache.</summary>
    public int Prefetch() => (int)socket.SocketType;

    public PipeReader Input => transport.Input;

    public PipeWriter Output => this;

    public override bool CanGetUnflushedBytes => true;

    public override long UnflushedBytes => _end - _flushed;

    public override Span<byte> GetSpan(int sizeHint = 0) => GetMemory(sizeHint).Span;

    public override Memory<byte> GetMemory(int sizeHint = 0)
    {
        if (!Volatile.Read(ref _isSending)) return GetFreeMemory(sizeHint);
        // The caller writes before its earlier flush has completed. The end of the send must not release the buffer.
        lock (this) return GetFreeMemory(sizeHint);
    }

    Memory<byte> GetFreeMemory(int sizeHint)
    {
        if (_isCompleted) throw new InvalidOperationException("The writer is completed. Do not write after Complete.");
        ArgumentOutOfRangeException.ThrowIfNegative(sizeHint);
        if (_buffer is null)
        {
            _buffer = ArrayPool<byte>.Shared.Rent(Math.Max(BufferSize, sizeHint));
        }
        else if (_buffer.Length - _end < Math.Max(sizeHint, 1))
        {
            var used = _end - _sent;
            Move(Math.Max(BufferSize, Math.Max(2 * used, used + sizeHint)));
        }

        _hasMemory = true;
        return _buffer.AsMemory(_end);
    }

    public override void Advance(int bytes)
    {
        ArgumentOutOfRangeException.ThrowIfNegative(bytes);
        ArgumentOutOfRangeException.ThrowIfGreaterThan(bytes, (_buffer?.Length ?? 0) - _end);
        _end += bytes;
        Volatile.Write(ref _hasMemory, false);
    }

    /// <summary>
    /// Writes and flushes. If the writer holds no earlier bytes, the socket takes the new bytes without a copy. The
    /// writer copies only the bytes that the socket does not take at once.
    /// </summary>
    public override ValueTask<FlushResult> WriteAsync(
        ReadOnlyMemory<byte> source, CancellationToken cancellationToken = default)
    {
        var hasEarlierBytes = _buffer is not null || Volatile.Read(ref _isSending);
        var canSend = !source.IsEmpty && !_isCompleted && !cancellationToken.IsCancellationRequested;
        if (canSend && !hasEarlierBytes) source = source[Send(source.Span)..];
        if (!source.IsEmpty) this.Write(source.Span);
        return FlushAsync(cancellationToken);
    }

    public override ValueTask<FlushResult> FlushAsync(CancellationToken cancellationToken = default)
    {
        if (cancellationToken.IsCancellationRequested) return ValueTask.FromCanceled<FlushResult>(cancellationToken);
        if (Volatile.Read(ref _isSending))
        {
            // The caller canceled the previous flush, but the send of that flush is still pending. After the pending
            // bytes, SendRest also sends the new bytes.
            lock (this)
            {
                _flushed = _end;
                if (_isSending) return WaitLocked(cancellationToken);
            }
        }

        _flushed = _end;
        _hasMemory = false;
        SendNow();
        if (_sent == _flushed || _hasFailed)
        {
            Release();
            return new(new FlushResult(_cancelsNext && TakeCancellation(), _hasFailed || _isCompleted));
        }

        // A slow client must not keep a large buffer in memory. So move the unsent bytes to a smaller buffer.
        if (_end - _sent <= _buffer!.Length / 2) Move(_end - _sent);
        _pending ??= new PendingFlush(this);
        ValueTask<FlushResult> flush;
        lock (this)
        {
            _isSending = true;
            flush = WaitLocked(cancellationToken);
        }

        SendRest();
        return flush;
    }

    public override void CancelPendingFlush()
    {
        lock (this)
        {
            if (_pending is not { IsAwaited: true })
            {
                _cancelsNext = true;
                return;
            }

            _pending.IsAwaited = false;
        }

        _pending.Cancellation.Dispose();
        _pending.Result.SetResult(new FlushResult(isCanceled: true, isCompleted: false));
    }

    /// <summary>
    /// Ends the output. Without an error, the writer first sends all written bytes, even bytes that are not flushed.
    /// The pipe of a server without inline sends does the same.
    /// </summary>
    public override void Complete(Exception? exception = null)
    {
        if (_isCompleted) return;
        if (_end > _flushed && exception is null) _ = FlushAsync(CancellationToken.None).AsTask();
        lock (this)
        {
            _isCompleted = true;
            if (_isSending)
            {
                _pending!.Error = exception;
                return;
            }
        }

        transport.Output.Complete(exception);
    }

    /// <summary>
    /// Completes the writer. The task completes when the socket has taken all bytes or a send has failed. Call this
    /// method after the last use of the writer.
    /// </summary>
    public Task FinishAsync()
    {
        Complete();
        lock (this)
        {
            if (_isSending) return (_pending!.Finished = new(TaskCreationOptions.RunContinuationsAsynchronously)).Task;
            Release();
            return Task.CompletedTask;
        }
    }

    void SendNow()
    {
        if (_sent != _flushed) _sent += Send(_buffer.AsSpan(_sent, _flushed - _sent));
    }

    /// <summary>Sends bytes without waiting. Returns the number of bytes that the socket has accepted.</summary>
    int Send(ReadOnlySpan<byte> bytes)
    {
        try
        {
            if (_hasFailed) return 0;
            var sent = socket.Send(bytes, SocketFlags.None, out var error);
            if (error == SocketError.Success) return sent;
            if (error != SocketError.WouldBlock) Fail(new SocketException((int)error));
        }
        catch (ObjectDisposedException exception)
        {
            Fail(exception);
        }

        return 0;
    }

    void SendRest()
    {
        do
        {
            try
            {
                ReadOnlyMemory<byte> rest;
                lock (this) rest = _buffer.AsMemory(_sent, _flushed - _sent);
#pragma warning disable CA2012 // Each awaiter is used only once. The field saves an allocation for each send.
                _pending!.Send = socket.SendAsync(rest, SocketFlags.None).ConfigureAwait(false).GetAwaiter();
#pragma warning restore CA2012
            }
            catch (ObjectDisposedException exception)
            {
                EndSend(0, exception);
                return;
            }

            if (_pending.Send.IsCompleted) continue;
            _pending.Send.UnsafeOnCompleted(_pending.OnSent);
            return;
        }
        while (EndSend());
    }

    void OnSent()
    {
        if (EndSend()) SendRest();
    }

    bool EndSend()
    {
        try
        {
            return EndSend(_pending!.Send.GetResult(), null);
        }
        catch (Exception exception)
            when (exception is SocketException or ObjectDisposedException or OperationCanceledException)
        {
            return EndSend(0, exception);
        }
    }

    /// <summary>Ends one socket operation. Returns true if the writer must send more bytes.</summary>
    bool EndSend(int sent, Exception? failure)
    {
        bool isAwaited, isCompleted;
        lock (this)
        {
            _sent += sent;
            if (failure is null && _sent < _flushed) return true;
            _hasFailed |= failure is not null;
            // After a canceled flush, another thread may write to the buffer now. So keep the buffer.
            isAwaited = _pending!.IsAwaited;
            if ((isAwaited && !Volatile.Read(ref _hasMemory) && _end == _flushed) || _pending.Finished is not null)
                Release();
            _pending.IsAwaited = false;
            isCompleted = _isCompleted;
            Volatile.Write(ref _isSending, false);
            _pending.Finished?.TrySetResult();
        }

        if (failure is not null) Abort(failure);
        if (isCompleted) transport.Output.Complete(_pending.Error);
        if (!isAwaited) return false;
        _pending.Cancellation.Dispose();
        _pending.Result.SetResult(new FlushResult(isCanceled: false, isCompleted: _hasFailed || _isCompleted));
        return false;
    }

    /// <summary>Returns a task that completes when the pending send completes.</summary>
    ValueTask<FlushResult> WaitLocked(CancellationToken cancellationToken)
    {
        Debug.Assert(Monitor.IsEntered(this));
        if (TakeCancellation()) return new(new FlushResult(isCanceled: true, isCompleted: false));
        _pending!.Result.Reset();
        _pending.IsAwaited = true;
        _pending.Cancellation = cancellationToken.UnsafeRegister(
            static (writer, token) => ((InlineWriter)writer!).OnCanceled(token), this);
        return new(_pending, _pending.Result.Version);
    }

    void OnCanceled(CancellationToken cancellationToken)
    {
        lock (this)
        {
            if (!_pending!.IsAwaited) return;
            _pending.IsAwaited = false;
        }

        _pending.Result.SetException(new OperationCanceledException(cancellationToken));
    }

    bool TakeCancellation()
    {
        lock (this)
        {
            var cancels = _cancelsNext;
            _cancelsNext = false;
            return cancels;
        }
    }

    void Fail(Exception exception)
    {
        _hasFailed = true;
        Abort(exception);
    }

    void Abort(Exception exception) =>
        connection.Abort(new ConnectionAbortedException("The write failed because the client is gone.", exception));

    /// <summary>Moves the unsent bytes to the start of another buffer.</summary>
    void Move(int size)
    {
        var buffer = ArrayPool<byte>.Shared.Rent(size);
        lock (this)
        {
            _buffer.AsSpan(_sent, _end - _sent).CopyTo(buffer);
            // A pending send still reads the old buffer. In this case, the garbage collector frees the old buffer
            // later.
            if (!_isSending) ArrayPool<byte>.Shared.Return(_buffer!);
            _buffer = buffer;
            _flushed -= _sent;
            _end -= _sent;
            _sent = 0;
        }
    }

    void Release()
    {
        if (_buffer is null) return;
        ArrayPool<byte>.Shared.Return(_buffer);
        _buffer = null;
        _sent = _flushed = _end = 0;
    }

    /// <summary>The state of a pending flush. The writer reuses the object for later flushes.</summary>
    sealed class PendingFlush(InlineWriter writer) : IValueTaskSource<FlushResult>
    {
        public ManualResetValueTaskSourceCore<FlushResult> Result = new() { RunContinuationsAsynchronously = true };
        public ConfiguredValueTaskAwaitable<int>.ConfiguredValueTaskAwaiter Send;
        public CancellationTokenRegistration Cancellation;
        public TaskCompletionSource? Finished;
        public Exception? Error;
        public bool IsAwaited;

        public Action OnSent { get; } = writer.OnSent;

        FlushResult IValueTaskSource<FlushResult>.GetResult(short token) => Result.GetResult(token);

        ValueTaskSourceStatus IValueTaskSource<FlushResult>.GetStatus(short token) => Result.GetStatus(token);

        void IValueTaskSource<FlushResult>.OnCompleted(
            Action<object?> continuation, object? state, short token, ValueTaskSourceOnCompletedFlags flags) =>
            Result.OnCompleted(continuation, state, token, flags);
    }
}
