namespace Broadcast.Middleware.Logs;

/// <summary>
/// Links the copies of one message in several logs. Readers wait until the token is committed, because they need all
/// copies in order to read the message once.
/// </summary>
sealed class CommitToken
{
    bool _isCommitted;

    public bool IsCommitted => Volatile.Read(ref _isCommitted);

    /// <summary>
    /// Makes the copies readable. The publisher calls this method after every log contains the message.
    /// </summary>
    public void Commit() => Volatile.Write(ref _isCommitted, true);
}
