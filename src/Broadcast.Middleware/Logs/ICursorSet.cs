namespace Broadcast.Middleware.Logs;

/// <summary>
/// A set of cursors of one log. The owner visits the cursors together when the log has new messages. Only one thread at
/// a time uses the set.
/// </summary>
interface ICursorSet
{
    void Add(Cursor cursor);

    void Remove(Cursor cursor);
}
