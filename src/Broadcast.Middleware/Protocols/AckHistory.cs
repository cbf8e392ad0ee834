namespace Broadcast.Middleware.Protocols;

/// <summary>
/// Stores the IDs of the last successful requests of a client, so that a repeated request takes effect only once. The
/// history contains no failed requests, so a client may repeat a failed request.
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
