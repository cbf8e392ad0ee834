namespace Broadcast.Middleware.Logs;

/// <summary>The owner of cursors: it reads one or more logs. A connection writer is a subscriber.</summary>
interface ILogSubscriber
{
    /// <summary>The ID that messages can exclude.</summary>
    string Id { get; }

    /// <summary>A log has new messages. Called on the thread that uses the cursors of this subscriber.</summary>
    void OnNewMessages();

    /// <summary>The subscriber has read its private log to the end. Called on the same thread.</summary>
    void OnPrivateLogRead();
}
