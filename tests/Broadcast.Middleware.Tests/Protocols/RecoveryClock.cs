using Microsoft.Extensions.Time.Testing;

namespace Broadcast.Middleware.Tests.Protocols;

/// <summary>A clock that stands still, and tells when a connection waits for its client: nothing else asks for so long a time.</summary>
sealed class RecoveryClock : FakeTimeProvider
{
    public static readonly TimeSpan Timeout = TimeSpan.FromSeconds(31);

    int _waits;

    /// <summary>How many waits have begun, of connections for their clients and of clients for their connections.</summary>
    public int Waits => Volatile.Read(ref _waits);

    public override ITimer CreateTimer(TimerCallback callback, object? state, TimeSpan dueTime, TimeSpan period)
    {
        var timer = base.CreateTimer(callback, state, dueTime, period);
        if (dueTime == Timeout) Interlocked.Increment(ref _waits);
        return timer;
    }

    /// <summary>So many have begun.</summary>
    public Task WaitsAsync(int waits = 1) => Eventually.True(() => Waits >= waits);

    public void Expire() => Advance(Timeout);
}
