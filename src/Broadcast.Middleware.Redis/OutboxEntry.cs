namespace Broadcast.Middleware;

/// <summary>One message that waits to be published.</summary>
sealed class OutboxEntry(byte[] message, GroupOptions? history, long at, OutboxBudget budget, int size)
    : TaskCompletionSource<Position>(TaskCreationOptions.RunContinuationsAsynchronously)
{
    int _done;

    public byte[] Message => message;

    public GroupOptions? History => history;

    /// <summary>When it was published, as a timestamp.</summary>
    public long At => at;

    /// <summary>Nobody waits for it any more.</summary>
    public bool IsDone => Volatile.Read(ref _done) != 0 || Task.IsCompleted;

    public void Succeed(Position position) => TrySetResult(position);

    public void Fail(BackplaneException exception)
    {
        TrySetException(exception);
        // Its publisher may have given up already.
        _ = Task.Exception;
    }

    public void Done()
    {
        if (Interlocked.Exchange(ref _done, 1) == 0) budget.Return(size);
    }
}

/// <summary>How much may wait.</summary>
sealed class OutboxBudget(long bytes)
{
    long _taken;

    public long Taken => Interlocked.Read(ref _taken);

    public bool TryTake(int size)
    {
        if (Interlocked.Add(ref _taken, size) <= bytes) return true;
        Interlocked.Add(ref _taken, -size);
        return false;
    }

    public void Return(int size) => Interlocked.Add(ref _taken, -size);
}
