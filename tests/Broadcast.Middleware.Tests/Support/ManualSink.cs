using System.Net.WebSockets;
using System.Threading.Tasks.Sources;

namespace Broadcast.Middleware.Tests.Support;

/// <summary>The behavior of the next write of a <see cref="ManualSink"/>.</summary>
enum WriteMode
{
    AtOnce,
    Later,
    Throws,
}

/// <summary>
/// A sink whose writes complete or fail on request of the test. The sink detects violations of the sink contract.
/// </summary>
sealed class ManualSink(Action<ReadOnlyMemory<byte>>? onWrite = null) : Sink, IValueTaskSource
{
    ManualResetValueTaskSourceCore<bool> _write;
    ReadOnlyMemory<byte> _writing;
    ulong _hash;

    public WriteMode Mode { get; set; }

    public bool IsWriting { get; private set; }

    public bool HasFailed { get; private set; }

    public int Writes { get; private set; }

    public WebSocketCloseStatus? Closed { get; private set; }

    /// <summary>The first violation of the sink contract, or null.</summary>
    public string? Violation { get; private set; }

    public override ValueTask WriteAsync(ReadOnlyMemory<byte> frames)
    {
        Writes++;
        if (IsWriting) Violation ??= "Two writes at once.";
        if (Closed is not null) Violation ??= "A write after the close frame.";
        if (HasFailed) Violation ??= "A write after a failed write.";
        var mode = Mode;
        if (mode == WriteMode.Throws)
        {
            HasFailed = true;
            throw new IOException("The peer is gone.");
        }

        onWrite?.Invoke(frames);
        if (mode == WriteMode.AtOnce) return default;
        IsWriting = true;
        (_writing, _hash) = (frames, Hash(frames.Span));
        return new ValueTask(this, _write.Version);
    }

    public override Task CloseAsync(WebSocketCloseStatus status, string? reason)
    {
        if (IsWriting) Violation ??= "The close frame in the middle of a write.";
        if (Closed is not null) Violation ??= "Two close frames.";
        if (HasFailed) Violation ??= "A close frame after a failed write.";
        Closed = status;
        return Task.CompletedTask;
    }

    public void CompleteWrite()
    {
        if (!IsWriting) return;
        IsWriting = false;
        if (Hash(_writing.Span) != _hash) Violation ??= "The memory changed during the write.";
        _writing = default;
        _write.SetResult(true);
    }

    public void FailWrite()
    {
        if (!IsWriting) return;
        IsWriting = false;
        HasFailed = true;
        _writing = default;
        _write.SetException(new IOException("The peer is gone."));
    }

    void IValueTaskSource.GetResult(short token)
    {
        try
        {
            _write.GetResult(token);
        }
        finally
        {
            _write.Reset();
        }
    }

    ValueTaskSourceStatus IValueTaskSource.GetStatus(short token) => _write.GetStatus(token);

    void IValueTaskSource.OnCompleted(Action<object?> continuation, object? state, short token, ValueTaskSourceOnCompletedFlags flags) =>
        _write.OnCompleted(continuation, state, token, flags);

    static ulong Hash(ReadOnlySpan<byte> bytes)
    {
        var hash = 14695981039346656037UL;
        foreach (var value in bytes) hash = (hash ^ value) * 1099511628211UL;
        return hash;
    }
}
