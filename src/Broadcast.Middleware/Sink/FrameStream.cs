using System.Runtime.CompilerServices;

namespace Broadcast.Middleware;

/// <summary>
/// Stands between the upgraded stream and the framework's WebSocket. Reads pass through. What the WebSocket writes (pong and close
/// frames, each in one call, never two at once) goes out through the connection's one writer, between whole frames.
/// </summary>
/// <remarks>
/// A write ends when the frame is on its way, so a peer that sends pings and does not read the pongs stops being read itself.
/// </remarks>
sealed class FrameStream(Stream inner) : Stream
{
    const int EmptyClose = 0x8880, CloseWithCode = 0x8882;

    TaskCompletionSource? _write;
    int _reads;
    ulong _last; // Eight bytes.

    /// <summary>Whom the stream belongs to; until it belongs to one, frames go out by themselves.</summary>
    public ConnectionWriter? Writer { get; set; }

    public ReadOnlyMemory<byte> Frame { get; private set; }

    public override ValueTask WriteAsync(ReadOnlyMemory<byte> buffer, CancellationToken cancellationToken = default)
    {
        if (Writer is null) return inner.WriteAsync(buffer, cancellationToken);
        var write = _write = new TaskCompletionSource(TaskCreationOptions.RunContinuationsAsynchronously);
        Frame = buffer;
        Writer.WriteControlFrame(this);
        return new ValueTask(write.Task);
    }

    /// <summary>The writer has sent the frame, or, with an error, never will.</summary>
    public void Complete(Exception? error)
    {
        var write = _write!;
        Frame = default;
        _write = null;
        if (error is null) write.SetResult();
        else write.SetException(error);
    }

    /// <summary>How many reads were begun. Each but the first tells that the one before has ended, and so that the peer is there.</summary>
    public int Reads => Volatile.Read(ref _reads);

    public override ValueTask<int> ReadAsync(Memory<byte> buffer, CancellationToken cancellationToken = default)
    {
        Volatile.Write(ref _reads, _reads + 1);
        // Only where it matters: what waits for a read costs memory for as long as the connection is idle.
        return Writer is { Connection.Session: not null } ? ReadAndNoteAsync(buffer, cancellationToken) : inner.ReadAsync(buffer, cancellationToken);
    }

    /// <summary>
    /// Whether what was read last is a close frame without a code, which the framework takes for one with 1000: two bytes and the masking key.
    /// One with a code, and no reason, has two bytes more.
    /// </summary>
    public bool EndsWithEmptyClose => ((_last >> 32) & 0xFFFF) == EmptyClose && _last >> 48 != CloseWithCode;

    [AsyncMethodBuilder(typeof(PoolingAsyncValueTaskMethodBuilder<>))]
    async ValueTask<int> ReadAndNoteAsync(Memory<byte> buffer, CancellationToken cancellationToken)
    {
        var read = await inner.ReadAsync(buffer, cancellationToken);
        foreach (var next in buffer.Span[Math.Max(0, read - sizeof(ulong))..read]) _last = (_last << 8) | next;
        return read;
    }

    // WriteAsync has flushed.
    public override Task FlushAsync(CancellationToken cancellationToken) => Task.CompletedTask;

    // The WebSocket gives up on the peer by disposing of its stream. The upgraded stream belongs to the server and would go on.
    protected override void Dispose(bool disposing)
    {
        Writer?.OnStreamDisposed();
        base.Dispose(disposing);
    }

    public override bool CanRead => true;
    public override bool CanWrite => true;
    public override bool CanSeek => false;
    public override long Length => throw new NotSupportedException();
    public override long Position { get => throw new NotSupportedException(); set => throw new NotSupportedException(); }
    public override void Flush() { }
    public override int Read(byte[] buffer, int offset, int count) => throw new NotSupportedException();
    public override long Seek(long offset, SeekOrigin origin) => throw new NotSupportedException();
    public override void SetLength(long value) => throw new NotSupportedException();
    public override void Write(byte[] buffer, int offset, int count) => throw new NotSupportedException();
}
