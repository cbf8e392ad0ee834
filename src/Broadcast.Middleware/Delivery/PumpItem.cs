namespace Broadcast.Middleware.Delivery;

/// <summary>Work for a pump. Posting an item that is already posted has no effect.</summary>
abstract class PumpItem
{
    int _posted;

    /// <summary>Returns true to exactly one caller. That caller enqueues the item.</summary>
    public bool TryMarkPosted() => Interlocked.Exchange(ref _posted, 1) == 0;

    /// <summary>Does the work. The pump runs one item at a time.</summary>
    public abstract void Run();

    /// <summary>Clears the mark. Call this method before the item looks for work.</summary>
    /// <remarks>
    /// Both exchanges are full fences. A thread that finds the item marked knows that the pump will still look for
    /// work. The pump will then see everything that the thread wrote before.
    /// </remarks>
    protected void ClearPosted() => Interlocked.Exchange(ref _posted, 0);
}
