namespace Broadcast.Middleware;

/// <summary>The last requests of a client that took effect, so that one it repeats does so once. One that failed may be repeated.</summary>
sealed class AckHistory
{
    const int Most = 1024;

    readonly HashSet<ulong> _ids = [];
    readonly Queue<ulong> _inOrder = new();

    public bool Contains(ulong id) => _ids.Contains(id);

    public void Add(ulong id)
    {
        _ids.Add(id);
        _inOrder.Enqueue(id);
        if (_inOrder.Count > Most) _ids.Remove(_inOrder.Dequeue());
    }
}
