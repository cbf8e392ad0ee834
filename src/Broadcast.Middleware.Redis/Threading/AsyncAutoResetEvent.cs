namespace Broadcast.Middleware.Redis.Threading;

/// <summary>
/// An auto-reset event with an asynchronous wait. If a caller calls <see cref="Set"/> several times before a wait, only
/// one wait completes.
/// </summary>
/// <remarks>Invariant: at most one caller waits at a time.</remarks>
sealed class AsyncAutoResetEvent(TimeProvider time)
{
    TaskCompletionSource _signal = new(TaskCreationOptions.RunContinuationsAsynchronously);

    public void Set() => Volatile.Read(ref _signal).TrySetResult();

    /// <summary>Waits for a call to <see cref="Set"/>. Returns false after the timeout.</summary>
    public async Task<bool> WaitAsync(TimeSpan timeout, CancellationToken cancellationToken)
    {
        try
        {
            await Volatile.Read(ref _signal).Task.WaitAsync(timeout, time, cancellationToken);
        }
        catch (TimeoutException)
        {
            return false;
        }

        // Any later call to Set completes the next wait.
        Interlocked.Exchange(ref _signal, new(TaskCreationOptions.RunContinuationsAsynchronously));
        return true;
    }
}
