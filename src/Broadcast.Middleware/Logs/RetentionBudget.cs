namespace Broadcast.Middleware.Logs;

/// <summary>Counts the bytes that all logs of a broadcast retain for unacknowledged messages.</summary>
/// <param name="maxBytes">The maximum number of bytes for all logs together.</param>
sealed class RetentionBudget(long maxBytes)
{
    long _used;

    public long Used => Volatile.Read(ref _used);

    public bool IsExceeded => Used > maxBytes;

    public void Change(long bytes)
    {
        if (bytes != 0) Interlocked.Add(ref _used, bytes);
    }
}
