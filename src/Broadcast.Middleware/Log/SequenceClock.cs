namespace Broadcast.Middleware;

/// <summary>
/// Numbers the messages of one broadcast across its logs, so that a connection in several groups can be given them in the order
/// in which they were published.
/// </summary>
sealed class SequenceClock
{
    long _last;

    /// <summary>
    /// The newest number taken. Whoever reads it before the heads of its logs finds every message up to it that was published
    /// before the newest one was begun.
    /// </summary>
    public long Last => Volatile.Read(ref _last);

    public long Next() => Interlocked.Increment(ref _last);
}
