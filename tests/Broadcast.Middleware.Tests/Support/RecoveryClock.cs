using Microsoft.Extensions.Time.Testing;

namespace Broadcast.Middleware.Tests.Support;

/// <summary>
/// A manual clock that counts the waits for a reconnect. Only these waits create timers with the duration
/// <see cref="Timeout"/>.
/// </summary>
sealed class RecoveryClock : FakeTimeProvider
{
    public static readonly TimeSpan Timeout = TimeSpan.FromSeconds(31);

    int _waits;

    /// <summary>The number of started waits. A session waits for its client, or a client waits for its session.</summary>
    public int Waits => Volatile.Read(ref _waits);

    public override ITimer CreateTimer(TimerCallback callback, object? state, TimeSpan dueTime, TimeSpan period)
    {
        var timer = base.CreateTimer(callback, state, dueTime, period);
        if (dueTime == Timeout) Interlocked.Increment(ref _waits);
        return timer;
    }

    /// <summary>Waits until at least <paramref name="waits"/> sessions or clients have started to wait.</summary>
    public Task WaitsAsync(int waits = 1) => Eventually.True(() => Waits >= waits);

    public void Expire() => Advance(Timeout);
}
