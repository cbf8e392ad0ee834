using System.Runtime.CompilerServices;

namespace Broadcast.Middleware.Delivery;

/// <summary>
/// The stream between the upgraded stream and the framework's WebSocket. Reads pass through. The WebSocket writes pong
/// and close frames. The connection writer sends these frames between its own frames.
/// </summary>
/// <remarks>
/// The WebSocket writes one frame in each call and never makes two calls at once. A write completes after the frame was
/// sent. So the server stops reading from a client that sends pings but does not read the pongs.
/// </remarks>
sealed class FrameStream(Stream inner) : Stream
{
    const int EmptyCloseHeader = 0x8880, CloseWithCodeHeader = 0x8882;

    TaskCompletionSource? _write;
    int _reads;
    ulong _lastBytes; // The last eight bytes that were read.

    /// <summary>The upgraded stream.</summary>
    public Stream Inner => inner;

    /// <summary>The writer of the connection. Without a writer, frames go directly to the upgraded stream.</summary>
    public ConnectionWriter? Writer { get; set; }

    /// <summary>The frame that waits to be sent.</summary>
    public ReadOnlyMemory<byte> Frame { get; private set; }

    /// <summary>
    /// The number of reads. Each read after the first shows that the previous read has completed, so the client is
    /// alive.
    /// </summary>
    public int Reads => Volatile.Read(ref _reads);

    /// <summary>
    /// True if the last read ended with a close frame without a code. The framework reports code 1000 for such a frame.
    /// </summary>
    /// <remarks>
    /// An empty close frame has a header of two bytes and a masking key of four bytes. A close frame with a code but
    /// without a reason has two more bytes.
    /// </remarks>
    public bool EndsWithEmptyClose =>
        ((_lastBytes >> 32) & 0xFFFF) == EmptyCloseHeader && _lastBytes >> 48 != CloseWithCodeHeader;

    public override ValueTask WriteAsync(ReadOnlyMemory<byte> buffer, CancellationToken cancellationToken = default)
    {
        if (Writer is null) return inner.WriteAsync(buffer, cancellationToken);
        var write = _write = new TaskCompletionSource(TaskCreationOptions.RunContinuationsAsynchronously);
        Frame = buffer;
        Writer.WriteControlFrame(this);
        return new ValueTask(write.Task);
    }

    /// <summary>Completes the write. The error is null if the frame was sent.</summary>
    public void Complete(Exception? error)
    {
        var write = _write!;
        Frame = default;
        _write = null;
        if (error is null) write.SetResult();
        else write.SetException(error);
    }

    public override ValueTask<int> ReadAsync(Memory<byte> buffer, CancellationToken cancellationToken = default)
    {
        Volatile.Write(ref _reads, _reads + 1);
        // If the client can reconnect, the stream must remember the last bytes of a read. Otherwise, read directly.
        // ReadAndRememberAsync would keep its own state in memory while the connection is idle.
        return Writer is { CanReconnect: true }
            ? ReadAndRememberAsync(buffer, cancellationToken)
            : inner.ReadAsync(buffer, cancellationToken);
    }

    [AsyncMethodBuilder(typeof(PoolingAsyncValueTaskMethodBuilder<>))]
    async ValueTask<int> ReadAndRememberAsync(Memory<byte> buffer, CancellationToken cancellationToken)
    {
        var read = await inner.ReadAsync(buffer, cancellationToken);
        var start = Math.Max(0, read - sizeof(ulong));
        foreach (var next in buffer.Span[start..read]) _lastBytes = (_lastBytes << 8) | next;
        return read;
    }

    // The upgraded stream flushes after each write.
    public override Task FlushAsync(CancellationToken cancellationToken) => Task.CompletedTask;

    // The WebSocket disposes its stream when it gives up on the client. The upgraded stream belongs to the server and
    // stays open, so the writer must abort the connection.
    protected override void Dispose(bool disposing)
    {
        Writer?.OnStreamDisposed();
        base.Dispose(disposing);
    }

    public override bool CanRead => true;
    public override bool CanWrite => true;
    public override bool CanSeek => false;
    public override long Length => throw new NotSupportedException();

    public override long Position
    {
        get => throw new NotSupportedException();
        set => throw new NotSupportedException();
    }

    public override void Flush() { }
    public override int Read(byte[] buffer, int offset, int count) => throw new NotSupportedException();
    public override long Seek(long offset, SeekOrigin origin) => throw new NotSupportedException();
    public override void SetLength(long value) => throw new NotSupportedException();
    public override void Write(byte[] buffer, int offset, int count) => throw new NotSupportedException();
}
