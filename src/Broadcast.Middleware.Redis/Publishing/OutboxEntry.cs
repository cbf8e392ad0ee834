namespace Broadcast.Middleware.Redis.Publishing;

/// <summary>A message that waits for its position.</summary>
sealed class OutboxEntry(byte[] message, GroupOptions? history, long timestamp, OutboxBudget budget, int reservedBytes)
    : TaskCompletionSource<Position>(TaskCreationOptions.RunContinuationsAsynchronously)
{
    int _released;

    public byte[] Message => message;

    public GroupOptions? History => history;

    /// <summary>The timestamp of the publish call.</summary>
    public long Timestamp => timestamp;

    /// <summary>True after the publish has succeeded or failed, or after the caller has canceled the publish.</summary>
    public bool IsCompleted => Volatile.Read(ref _released) != 0 || Task.IsCompleted;

    public void Succeed(Position position) => TrySetResult(position);

    public void Fail(BackplaneException exception)
    {
        TrySetException(exception);
        // Read the exception. After a cancellation, no caller observes the exception.
        _ = Task.Exception;
    }

    /// <summary>Returns the reserved bytes to the budget. Only the first call has an effect.</summary>
    public void Release()
    {
        if (Interlocked.Exchange(ref _released, 1) == 0) budget.Release(reservedBytes);
    }
}
