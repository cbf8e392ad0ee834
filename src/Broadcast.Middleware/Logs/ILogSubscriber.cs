namespace Broadcast.Middleware.Logs;

/// <summary>Reads one or more logs through cursors. For example, a connection writer is a subscriber.</summary>
interface ILogSubscriber
{
    /// <summary>The ID of the subscriber. A message can exclude this ID.</summary>
    string Id { get; }

    /// <summary>
    /// Reads the objects that the next <see cref="OnNewMessages"/> needs, so that the processor loads the objects into
    /// its cache. The result has no meaning. The method runs on the thread that uses the cursors.
    /// </summary>
    int Prefetch() => 0;

    /// <summary>
    /// Notifies the subscriber that a log has new messages. The call runs on the thread that uses the cursors.
    /// </summary>
    void OnNewMessages();

    /// <summary>
    /// Notifies the subscriber that the log of a tracked cursor has a new message, or will have a new message soon. The
    /// call runs on the thread that uses the cursors. A subscriber without tracked cursors need not implement this
    /// method.
    /// </summary>
    void OnAnnounced(Cursor cursor) { }

    /// <summary>
    /// Notifies the subscriber that the reader has read the private log to the end. The call runs on the thread that
    /// uses the cursors.
    /// </summary>
    /// <param name="readByte">See <see cref="Cursor.ReadByte"/>.</param>
    void OnPrivateLogRead(long readByte);
}
