namespace Broadcast.Middleware.Logs;

/// <summary>
/// Assigns sequence numbers to the messages of one broadcast on this node, across all of its logs. A connection in
/// several groups uses the numbers to read messages in the order in which they were published. In a cluster, the
/// <see cref="IBackplane"/> numbers the messages of each group for all nodes.
/// </summary>
/// <param name="timestamp">
/// Returns the publish time for each message, or 0 if no listener measures latency. Null for a clock without publish
/// times.
/// </param>
sealed class SequenceClock(Func<long>? timestamp = null)
{
    long _last;
    bool _hasTransientLogs;

    /// <summary>
    /// The newest number. A reader reads this number before the ends of its logs. The reader then finds every message
    /// whose append ended before the clock returned this number.
    /// </summary>
    public long Last => Volatile.Read(ref _last);

    /// <summary>The current time as a time stamp of the time provider. 0 if no listener measures latency.</summary>
    public long Timestamp => timestamp?.Invoke() ?? 0;

    /// <summary>
    /// True after a group has created a log for transient messages. Readers then look for such logs. Read this property
    /// after <see cref="Last"/>: if that number belongs to a transient message, this property is true.
    /// </summary>
    public bool HasTransientLogs
    {
        get => Volatile.Read(ref _hasTransientLogs);
        set => Volatile.Write(ref _hasTransientLogs, value);
    }

    public long Next() => Interlocked.Increment(ref _last);
}
