using System.Buffers;
using System.IO.Pipelines;
using System.Runtime.CompilerServices;

namespace Broadcast.Middleware.Transports;

/// <summary>
/// Reads from the input pipe and writes to the output pipe of a connection. Each write also flushes.
/// </summary>
/// <remarks>
/// A read into an empty buffer waits for data without a buffer (<see cref="Stream.ReadAsync(Memory{byte},
/// CancellationToken)"/>).
/// </remarks>
sealed class PipeStream(PipeReader input, PipeWriter output) : Stream
{
    public override bool CanRead => true;

    public override bool CanWrite => true;

    public override bool CanSeek => false;

    public override long Length => throw new NotSupportedException();

    public override long Position
    {
        get => throw new NotSupportedException();
        set => throw new NotSupportedException();
    }

    [AsyncMethodBuilder(typeof(PoolingAsyncValueTaskMethodBuilder<>))]
    public override async ValueTask<int> ReadAsync(Memory<byte> buffer, CancellationToken cancellationToken = default)
    {
        var result = await input.ReadAsync(cancellationToken);
        while (result.IsCanceled)
        {
            // A server that stops cancels the reads of its requests. Only the token cancels a read of this stream.
            input.AdvanceTo(result.Buffer.Start);
            result = await input.ReadAsync(cancellationToken);
        }

        var data = result.Buffer;
        var length = (int)Math.Min(data.Length, buffer.Length);
        var end = data.Start;
        try
        {
            if (length == 0) return 0;
            var read = data.Slice(0, length);
            end = read.End;
            read.CopyTo(buffer.Span);
            return length;
        }
        finally
        {
            input.AdvanceTo(end);
        }
    }

    public override ValueTask WriteAsync(ReadOnlyMemory<byte> buffer, CancellationToken cancellationToken = default)
    {
        output.Write(buffer.Span);
        var flush = output.FlushAsync(cancellationToken);
        if (!flush.IsCompletedSuccessfully) return WaitAsync(flush);
        ThrowIfClosed(flush.Result);
        return default;
    }

    public override Task FlushAsync(CancellationToken cancellationToken) => Task.CompletedTask;

    public override Task<int> ReadAsync(byte[] buffer, int offset, int count, CancellationToken cancellationToken) =>
        ReadAsync(buffer.AsMemory(offset, count), cancellationToken).AsTask();

    public override Task WriteAsync(byte[] buffer, int offset, int count, CancellationToken cancellationToken) =>
        WriteAsync(buffer.AsMemory(offset, count), cancellationToken).AsTask();

    public override void Flush() { }
    public override int Read(byte[] buffer, int offset, int count) => throw new NotSupportedException();
    public override long Seek(long offset, SeekOrigin origin) => throw new NotSupportedException();
    public override void SetLength(long value) => throw new NotSupportedException();
    public override void Write(byte[] buffer, int offset, int count) => throw new NotSupportedException();

    [AsyncMethodBuilder(typeof(PoolingAsyncValueTaskMethodBuilder))]
    static async ValueTask WaitAsync(ValueTask<FlushResult> flush) => ThrowIfClosed(await flush);

    static void ThrowIfClosed(FlushResult result)
    {
        if (result.IsCompleted) throw new IOException("The write failed because the client is gone.");
    }
}
