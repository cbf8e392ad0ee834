using System.Net.WebSockets;
using System.Threading.Tasks.Sources;

namespace Broadcast.Middleware.Tests.Support;

enum Pace
{
    /// <summary>Every write completes before the call returns.</summary>
    AtOnce,

    /// <summary>Some writes complete on another thread, as soon as possible.</summary>
    Soon,

    /// <summary>Some writes complete after a few milliseconds.</summary>
    Slow,

    /// <summary>The first write completes when the test releases it.</summary>
    Stuck,
}

/// <summary>A sink that records the IDs of the received messages. The sink checks that only one write runs at a time.</summary>
sealed class StressSink(Pace pace, int seed) : Sink, IValueTaskSource, IThreadPoolWorkItem
{
    readonly Random _random = new(seed);
    readonly TaskCompletionSource _stuck = new(TaskCreationOptions.RunContinuationsAsynchronously);
    ManualResetValueTaskSourceCore<bool> _write;
    int _isWriting;
    int _count;

    public List<long> Ids { get; } = [];

    public int Count => Volatile.Read(ref _count);

    public string? Violation { get; private set; }

    public WebSocketCloseStatus? Closed { get; private set; }

    public override ValueTask WriteAsync(ReadOnlyMemory<byte> frames)
    {
        if (Interlocked.Exchange(ref _isWriting, 1) != 0) Violation ??= "Two writes at once.";
        if (Closed is not null) Violation ??= "A write after the close frame.";
        Violation ??= FrameParser.Read(frames.Span, (_, payload) => Ids.Add(BitConverter.ToInt64(payload)));
        Volatile.Write(ref _count, Ids.Count);
        switch (pace)
        {
            case Pace.Soon when _random.Next(4) != 0:
                ThreadPool.UnsafeQueueUserWorkItem(this, preferLocal: false);
                break;
            case Pace.Slow when _random.Next(100) == 0:
                _ = EndAfter(Task.Delay(_random.Next(1, 4)));
                break;
            case Pace.Stuck when !_stuck.Task.IsCompleted:
                _ = EndAfter(_stuck.Task);
                break;
            default:
                Volatile.Write(ref _isWriting, 0);
                return default;
        }

        return new ValueTask(this, _write.Version);
    }

    public override Task CloseAsync(WebSocketCloseStatus status, string? reason)
    {
        if (Volatile.Read(ref _isWriting) != 0) Violation ??= "The close frame in the middle of a write.";
        Closed = status;
        return Task.CompletedTask;
    }

    public void Release() => _stuck.TrySetResult();

    void IThreadPoolWorkItem.Execute() => End();

    async Task EndAfter(Task task)
    {
        await task;
        End();
    }

    void End()
    {
        Volatile.Write(ref _isWriting, 0);
        _write.SetResult(true);
    }

    void IValueTaskSource.GetResult(short token)
    {
        _write.GetResult(token);
        _write.Reset();
    }

    ValueTaskSourceStatus IValueTaskSource.GetStatus(short token) => _write.GetStatus(token);

    void IValueTaskSource.OnCompleted(Action<object?> continuation, object? state, short token, ValueTaskSourceOnCompletedFlags flags) =>
        _write.OnCompleted(continuation, state, token, flags);
}
