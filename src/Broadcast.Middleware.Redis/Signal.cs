namespace Broadcast.Middleware;

/// <summary>Wakes one who waits; set once or often, it wakes once.</summary>
sealed class Signal(TimeProvider time)
{
    TaskCompletionSource _set = new(TaskCreationOptions.RunContinuationsAsynchronously);

    public void Set() => Volatile.Read(ref _set).TrySetResult();

    /// <summary>Returns false if the time is up.</summary>
    public async Task<bool> WaitAsync(TimeSpan timeout, CancellationToken cancellationToken)
    {
        try
        {
            await Volatile.Read(ref _set).Task.WaitAsync(timeout, time, cancellationToken);
        }
        catch (TimeoutException)
        {
            return false;
        }

        // What is set from here on is set for the next time.
        Interlocked.Exchange(ref _set, new(TaskCreationOptions.RunContinuationsAsynchronously));
        return true;
    }
}
