namespace Broadcast.Middleware.Protocols;

/// <summary>
/// Remembers the last successful requests of a client, so that a repeated request takes effect once. A failed request
/// may be repeated.
/// </summary>
sealed class AckHistory
{
    const int MaxIds = 1024;

    readonly HashSet<ulong> _ids = [];
    readonly Queue<ulong> _oldestFirst = new();

    public bool Contains(ulong id) => _ids.Contains(id);

    public void Add(ulong id)
    {
        _ids.Add(id);
        _oldestFirst.Enqueue(id);
        if (_oldestFirst.Count > MaxIds) _ids.Remove(_oldestFirst.Dequeue());
    }
}
