namespace Broadcast.Middleware.Logs;

/// <summary>
/// Links the copies of one message in several logs. Readers wait until the publisher commits the token. A reader can
/// then find all copies and reads the message only once.
/// </summary>
sealed class CommitToken
{
    bool _isCommitted;

    public bool IsCommitted => Volatile.Read(ref _isCommitted);

    /// <summary>Makes the copies readable. The publisher calls this method after the appends to all logs.</summary>
    public void Commit() => Volatile.Write(ref _isCommitted, true);
}
