using Broadcast.Middleware.Logs;

namespace Broadcast.Middleware.Connections;

/// <summary>The private log of a connection. A sender can wait until the log has room for another message.</summary>
/// <param name="log">The log.</param>
sealed class PrivateLog(MessageLog log)
{
    TaskCompletionSource? _waiting;
    TaskCompletionSource? _newestSender; // The newest sender in the queue. The lock of the log guards this field.
    long _readBytes; // The size of the part of the log that the pump has read.

    /// <summary>Appends a message without waiting for room.</summary>
    public void Append(Message message, EntryMetadata? metadata)
    {
        lock (log.Gate) log.AppendLocked(message, metadata);
    }

    /// <summary>
    /// Appends a message if no sender waits, and if all unread messages together with this message have at most
    /// <paramref name="maxBytes"/>.
    /// </summary>
    /// <returns>
    /// False if a sender waits or the log has no room. A log without unread messages always has room.
    /// </returns>
    public bool TryAppend(Message message, EntryMetadata? metadata, long maxBytes)
    {
        lock (log.Gate) return _newestSender is null && TryAppendLocked(message, metadata, maxBytes);
    }

    /// <summary>Appends a message of the first sender in the queue: see <see cref="TryAppend"/>.</summary>
    public bool TryAppendFirst(Message message, EntryMetadata? metadata, long maxBytes)
    {
        lock (log.Gate) return TryAppendLocked(message, metadata, maxBytes);
    }

    /// <summary>
    /// Adds a sender to the queue. The task completes when all earlier senders have left the queue. Call
    /// <see cref="LeaveQueueAsync"/> afterwards.
    /// </summary>
    public Task EnterQueue(TaskCompletionSource sender)
    {
        lock (log.Gate)
        {
            var earlier = _newestSender?.Task ?? Task.CompletedTask;
            _newestSender = sender;
            return earlier;
        }
    }

    /// <summary>Removes a sender from the queue. Later senders still wait for the earlier senders.</summary>
    public async Task LeaveQueueAsync(TaskCompletionSource sender, Task earlier)
    {
        await earlier.ConfigureAwait(false);
        lock (log.Gate)
        {
            if (_newestSender == sender) _newestSender = null;
        }

        sender.SetResult();
    }

    /// <summary>
    /// Returns a task that completes when the log may have room, or when the connection may have ended. After this
    /// call, call <c>Post</c> of the writer, so that the pump can complete the task.
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
    /// <param name="readByte">See <see cref="Cursor.ReadByte"/>.</param>
    public void OnRead(long readByte)
    {
        Volatile.Write(ref _readBytes, readByte);
        if (Volatile.Read(ref _waiting) is not null) WakeSenders();
    }

    /// <summary>Completes the tasks of <see cref="WaitForRoomAsync"/>. Any thread may call this method.</summary>
    public void WakeSenders() => Interlocked.Exchange(ref _waiting, null)?.TrySetResult();

    bool TryAppendLocked(Message message, EntryMetadata? metadata, long maxBytes)
    {
        var unread = log.EndByte - Volatile.Read(ref _readBytes);
        if (unread > 0 && unread + message.Payload.Length > maxBytes) return false;
        log.AppendLocked(message, metadata);
        return true;
    }
}
