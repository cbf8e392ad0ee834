using System.Buffers;
using System.IO.Pipelines;
using Microsoft.AspNetCore.Connections;

namespace Broadcast.Middleware.Testing.Hosting;

/// <summary>
/// The client's side of a connection without sockets. The server waits while the receive buffer of the client is full.
/// </summary>
/// <param name="input">The bytes from the server.</param>
/// <param name="output">The bytes to the server.</param>
/// <param name="onEnded">Runs when the client ends the connection.</param>
sealed class InMemoryStream(PipeReader input, PipeWriter output, Action onEnded) : Stream
{
    readonly Lock _gate = new();
    readonly SemaphoreSlim _writing = new(1);
    bool _isEnded;
    int _isReading;

    public override bool CanRead => true;

    public override bool CanSeek => false;

    public override bool CanWrite => true;

    public override long Length => throw new NotSupportedException();

    public override long Position
    {
        get => throw new NotSupportedException();
        set => throw new NotSupportedException();
    }

    /// <summary>Ends the connection with a reset, as a broken network does. Unread bytes are lost.</summary>
    public void Reset() => End(new ConnectionResetException("The client has reset the connection."));

    /// <summary>Ends the connection because the server has aborted the connection.</summary>
    public void OnServerAborted() => End(new ConnectionAbortedException());

    public override async ValueTask<int> ReadAsync(Memory<byte> buffer, CancellationToken cancellationToken = default)
    {
        if (Interlocked.Exchange(ref _isReading, 1) != 0)
        {
            throw new InvalidOperationException(
                "Another call already waits for this client. Await each call before you start the next call.");
        }

        try
        {
            return await ReadCoreAsync(buffer, cancellationToken).ConfigureAwait(false);
        }
        finally
        {
            Volatile.Write(ref _isReading, 0);
        }
    }

    public override async ValueTask WriteAsync(
        ReadOnlyMemory<byte> buffer, CancellationToken cancellationToken = default)
    {
        FlushResult result;
        // The answer to a ping of the server can overlap with a call of the test.
        await _writing.WaitAsync(cancellationToken).ConfigureAwait(false);
        try
        {
            result = await output.WriteAsync(buffer, cancellationToken).ConfigureAwait(false);
        }
        catch (InvalidOperationException exception)
        {
            throw new IOException("The connection has been reset.", exception);
        }
        finally
        {
            _writing.Release();
        }

        if (result.IsCompleted) throw new IOException("The server has ended the connection.");
    }

    public override Task<int> ReadAsync(byte[] buffer, int offset, int count, CancellationToken cancellationToken) =>
        ReadAsync(buffer.AsMemory(offset, count), cancellationToken).AsTask();

    public override Task WriteAsync(byte[] buffer, int offset, int count, CancellationToken cancellationToken) =>
        WriteAsync(buffer.AsMemory(offset, count), cancellationToken).AsTask();

    public override int Read(byte[] buffer, int offset, int count) =>
        throw new NotSupportedException("Call ReadAsync.");

    public override void Write(byte[] buffer, int offset, int count) =>
        throw new NotSupportedException("Call WriteAsync.");

    public override Task FlushAsync(CancellationToken cancellationToken) => Task.CompletedTask;

    public override void Flush()
    {
    }

    public override long Seek(long offset, SeekOrigin origin) => throw new NotSupportedException();

    public override void SetLength(long value) => throw new NotSupportedException();

    protected override void Dispose(bool disposing)
    {
        if (disposing) End(null);
        base.Dispose(disposing);
    }

    async ValueTask<int> ReadCoreAsync(Memory<byte> buffer, CancellationToken cancellationToken)
    {
        while (true)
        {
            ReadResult result;
            try
            {
                result = await input.ReadAsync(cancellationToken).ConfigureAwait(false);
            }
            catch (Exception exception) when (exception is not OperationCanceledException)
            {
                // The server has ended the connection with an error, or the reader is complete.
                throw new IOException("The connection has been reset.", exception);
            }

            lock (_gate)
            {
                if (_isEnded) throw new IOException("The connection has been reset.");
                var data = result.Buffer;
                if (data.Length > 0)
                {
                    var count = (int)Math.Min(data.Length, buffer.Length);
                    var taken = data.Slice(0, count);
                    taken.CopyTo(buffer.Span);
                    input.AdvanceTo(taken.End);
                    return count;
                }

                input.AdvanceTo(data.End);
                if (result.IsCompleted) return 0;
            }
        }
    }

    void End(Exception? error)
    {
        lock (_gate)
        {
            if (_isEnded) return;
            _isEnded = true;
            input.CancelPendingRead();
            input.Complete();
        }

        output.Complete(error);
        onEnded();
    }
}
