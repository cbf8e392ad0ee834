namespace Broadcast.Middleware;

/// <summary>Something a pump can be asked to look at. Asking again before it has looked changes nothing.</summary>
abstract class PumpItem
{
    int _posted;

    /// <summary>True for the one caller that has to put the item into the pump's queue.</summary>
    public bool TryMarkPosted() => Interlocked.Exchange(ref _posted, 1) == 0;

    /// <summary>On the pump's thread, one item at a time.</summary>
    public abstract void Run(Pump pump);

    /// <summary>
    /// Called before looking at what the item was posted for. A full fence, as is the mark: whoever finds the item still marked
    /// knows that the pump has yet to look, and will see what was written before.
    /// </summary>
    protected void ClearPosted() => Interlocked.Exchange(ref _posted, 0);
}
