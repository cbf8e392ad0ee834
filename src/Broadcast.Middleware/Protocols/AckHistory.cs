namespace Broadcast.Middleware;

/// <summary>The last requests of a client that were answered, so that one it repeats takes effect once.</summary>
sealed class AckHistory
{
    const int Most = 1024;

    readonly HashSet<ulong> _ids = [];
    readonly Queue<ulong> _inOrder = new();

    /// <summary>False if it is one of them.</summary>
    public bool TryAdd(ulong id)
    {
        if (!_ids.Add(id)) return false;
        _inOrder.Enqueue(id);
        if (_inOrder.Count > Most) _ids.Remove(_inOrder.Dequeue());
        return true;
    }
}
