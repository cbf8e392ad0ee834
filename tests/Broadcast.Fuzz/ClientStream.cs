using Microsoft.AspNetCore.Http.Features;

namespace Broadcast.Fuzz;

/// <summary>An upgraded connection to a client that has sent all its data. The client reads all data from the server.</summary>
sealed class ClientStream(ReadOnlyMemory<byte> input) : Stream, IHttpUpgradeFeature, IHttpRequestLifetimeFeature
{
    readonly MemoryStream _written = new();
    readonly CancellationTokenSource _aborted = new();
    int _read;

    public ReadOnlySpan<byte> Written => _written.GetBuffer().AsSpan(0, (int)_written.Length);

    public bool IsUpgradableRequest => true;

    public Task<Stream> UpgradeAsync() => Task.FromResult<Stream>(this);

    public CancellationToken RequestAborted { get => _aborted.Token; set => throw new NotSupportedException(); }

    public void Abort() => _aborted.Cancel();

    public override async ValueTask<int> ReadAsync(Memory<byte> buffer, CancellationToken cancellationToken = default)
    {
        // The server waits for data with a read into an empty buffer. This read completes at once, because the whole input is available.
        await Task.Yield();
        _aborted.Token.ThrowIfCancellationRequested();
        var count = Math.Min(buffer.Length, input.Length - _read);
        input.Slice(_read, count).CopyTo(buffer);
        _read += count;
        return count;
    }

    public override ValueTask WriteAsync(ReadOnlyMemory<byte> buffer, CancellationToken cancellationToken = default)
    {
        _written.Write(buffer.Span);
        return default;
    }

    public override Task FlushAsync(CancellationToken cancellationToken) => Task.CompletedTask;

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
