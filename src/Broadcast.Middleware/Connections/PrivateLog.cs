using Broadcast.Middleware.Logs;

namespace Broadcast.Middleware.Connections;

/// <summary>The private log of a connection. A sender can wait until the log has room for another message.</summary>
/// <param name="log">The log.</param>
sealed class PrivateLog(MessageLog log)
{
    TaskCompletionSource? _waiting;
    long _unreadBytes; // The bytes since OnRead last found a waiting sender. The lock of the log guards this field.

    public MessageLog Log => log;

    /// <summary>Appends a message without waiting for room.</summary>
    public void Append(Message message, EntryMetadata? metadata)
    {
        lock (log.Gate) AppendLocked(message, metadata);
    }

    /// <summary>
    /// Appends a message if all unread messages together with this message have at most <paramref name="maxBytes"/>.
    /// </summary>
    /// <returns>False if the log has no room. An empty log always has room.</returns>
    public bool TryAppend(Message message, EntryMetadata? metadata, long maxBytes)
    {
        lock (log.Gate)
        {
            if (_unreadBytes > 0 && _unreadBytes + message.Payload.Length > maxBytes) return false;
            AppendLocked(message, metadata);
            return true;
        }
    }

    /// <summary>
    /// Returns a task that completes when the log may have room, or when the connection may have ended. After this
    /// call, call <c>Post</c> of the writer.
    /// </summary>
    public Task WaitForRoomAsync()
    {
        var added = new TaskCompletionSource(TaskCreationOptions.RunContinuationsAsynchronously);
        return (Interlocked.CompareExchange(ref _waiting, added, null) ?? added).Task;
    }

    /// <summary>
    /// Records that the writer has read the whole log. The pump calls this method on its thread, even if no sender
    /// waits.
    /// </summary>
    public void OnRead()
    {
        if (Volatile.Read(ref _waiting) is null) return;
        lock (log.Gate) _unreadBytes = 0;
        WakeSenders();
    }

    /// <summary>Completes the tasks of <see cref="WaitForRoomAsync"/>. Any thread may call this method.</summary>
    public void WakeSenders() => Interlocked.Exchange(ref _waiting, null)?.TrySetResult();

    void AppendLocked(Message message, EntryMetadata? metadata)
    {
        log.AppendLocked(message, metadata);
        _unreadBytes += message.Payload.Length + Block.EntrySize;
    }
}
