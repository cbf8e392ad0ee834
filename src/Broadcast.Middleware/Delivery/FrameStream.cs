using System.Runtime.CompilerServices;

namespace Broadcast.Middleware.Delivery;

/// <summary>
/// The stream between the upgraded stream and the framework's WebSocket. The stream passes reads to the upgraded stream
/// and inspects the received bytes. The WebSocket writes pong and close frames. The connection writer sends these
/// frames between its own frames.
/// </summary>
/// <remarks>
/// The WebSocket writes one frame in each call and never makes two calls at once. A write completes after the writer
/// has sent the frame. So the server stops reading from a client that sends pings but does not read the pongs.
/// </remarks>
sealed class FrameStream(Stream inner) : Stream
{
    const int EmptyCloseHeader = 0x8880, CloseWithCodeHeader = 0x8882;

    TaskCompletionSource? _write;
    int _reads;
    ReceivedBytes? _received; // Null if the stream needs no state between reads.

    /// <summary>The upgraded stream.</summary>
    public Stream Inner => inner;

    /// <summary>The writer of the connection. Without a writer, frames go directly to the upgraded stream.</summary>
    public ConnectionWriter? Writer { get; set; }

    /// <summary>The frame that the writer must send.</summary>
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
        _received is { Last: var last }
        && ((last >> 32) & 0xFFFF) == EmptyCloseHeader
        && last >> 48 != CloseWithCodeHeader;

    public override ValueTask WriteAsync(ReadOnlyMemory<byte> buffer, CancellationToken cancellationToken = default)
    {
        if (Writer is null) return inner.WriteAsync(buffer, cancellationToken);
        var write = _write = new TaskCompletionSource(TaskCreationOptions.RunContinuationsAsynchronously);
        Frame = buffer;
        Writer.WriteControlFrame(this);
        return new ValueTask(write.Task);
    }

    /// <summary>Completes the write. The error is null if the writer has sent the frame.</summary>
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
        // While the connection is idle, the WebSocket waits with an empty buffer. ReadAndInspectAsync would keep its
        // own state in memory during this time.
        if (buffer.IsEmpty) return inner.ReadAsync(buffer, cancellationToken);
        if (_received is { HasInvalidText: true } received) return new(CompleteInvalidFrame(received, buffer.Span));
        var reading = inner.ReadAsync(buffer, cancellationToken);
        if (!reading.IsCompletedSuccessfully) return ReadAndInspectAsync(reading, buffer);
        var read = reading.Result;
        Inspect(buffer.Span[..read]);
        return new(read);
    }

    [AsyncMethodBuilder(typeof(PoolingAsyncValueTaskMethodBuilder<>))]
    async ValueTask<int> ReadAndInspectAsync(ValueTask<int> reading, Memory<byte> buffer)
    {
        var read = await reading;
        Inspect(buffer.Span[..read]);
        return read;
    }

    void Inspect(ReadOnlySpan<byte> bytes)
    {
        // Only connections that can reconnect need the last bytes.
        if (Writer is { CanReconnect: true }) (_received ??= new()).Remember(bytes);
        if (_received is { } received)
        {
            received.Inspect(bytes);
            return;
        }

        var frames = default(FrameInspector);
        frames.Read(bytes);
        // Most reads end with a message. Then the stream needs no state.
        if (!frames.IsBetweenMessages) (_received = new()).Start(frames);
    }

    /// <summary>
    /// Completes the current frame after an invalid text byte. The WebSocket checks the text at the end of the frame.
    /// So the WebSocket now finds the invalid byte and closes the connection with close code 1007.
    /// </summary>
    static int CompleteInvalidFrame(ReceivedBytes received, Span<byte> buffer)
    {
        if (received.IsFrameCompleted) throw new IOException("The client sent a text that is not valid UTF-8.");
        received.IsFrameCompleted = true;
        buffer.Clear();
        return buffer.Length;
    }

    // The upgraded stream flushes after each write.
    public override Task FlushAsync(CancellationToken cancellationToken) => Task.CompletedTask;

    // The WebSocket disposes its stream when it considers the client lost. The upgraded stream belongs to the server
    // and stays open, so the writer must abort the connection.
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
