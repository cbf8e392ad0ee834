namespace Broadcast.Middleware.Delivery;

/// <summary>A unit of work for a pump. Posting an item that is already posted has no effect.</summary>
abstract class PumpItem
{
    int _posted;

    /// <summary>Marks the item as posted. Returns true only to the first caller, which enqueues the item.</summary>
    public bool TryMarkPosted() => Interlocked.Exchange(ref _posted, 1) == 0;

    /// <summary>Runs the work of this item. The pump runs one item at a time.</summary>
    public abstract void Run();

    /// <summary>Clears the mark. Call this method before the item checks for work.</summary>
    /// <remarks>
    /// The exchanges here and in <see cref="TryMarkPosted"/> are full fences. If a thread finds that the item is
    /// already marked, the pump has not checked for work yet. The check then sees everything that the thread wrote
    /// before.
    /// </remarks>
    protected void ClearPosted() => Interlocked.Exchange(ref _posted, 0);
}
