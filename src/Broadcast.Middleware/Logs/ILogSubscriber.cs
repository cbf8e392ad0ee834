namespace Broadcast.Middleware.Logs;

/// <summary>The owner of cursors: it reads one or more logs. A connection writer is a subscriber.</summary>
interface ILogSubscriber
{
    /// <summary>The ID that messages can exclude.</summary>
    string Id { get; }

    /// <summary>
    /// Tells the subscriber that a log has new messages. The call runs on the thread that uses the cursors.
    /// </summary>
    void OnNewMessages();

    /// <summary>
    /// Tells the subscriber that it has read its private log to the end. The call runs on the same thread.
    /// </summary>
    void OnPrivateLogRead();
}
