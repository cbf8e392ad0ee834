namespace Broadcast.Middleware.Logs;

/// <summary>
/// The cursors of one log that are visited together when the log has new messages. Used on one thread at a time.
/// </summary>
interface ICursorSet
{
    void Add(Cursor cursor);

    void Remove(Cursor cursor);
}
