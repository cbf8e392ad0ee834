namespace Broadcast.Middleware;

/// <summary>
/// Numbers the messages of one broadcast across its logs, so that a connection in several groups can be given them in the order
/// in which they were published.
/// </summary>
/// <param name="timestamp">Tells the time for each message; null where nobody wants to know.</param>
sealed class SequenceClock(Func<long>? timestamp = null)
{
    long _last;

    /// <summary>
    /// The newest number taken. Whoever reads it before the heads of its logs finds every message up to it that was published
    /// before the newest one was begun.
    /// </summary>
    public long Last => Volatile.Read(ref _last);

    /// <summary>Of a time provider; 0 where nobody wants to know.</summary>
    public long Timestamp => timestamp?.Invoke() ?? 0;

    public long Next() => Interlocked.Increment(ref _last);
}
