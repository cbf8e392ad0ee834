using Broadcast.Middleware.Logs;

namespace Broadcast.Middleware.Clustering;

/// <summary>
/// Links the copies of messages to several groups as they arrive on this node. A reader can then tell whether it reads
/// another copy. Nothing is stored for each reader, and the time between two copies does not matter.
/// </summary>
sealed class CopyTracker
{
    // The tracker recognizes a second copy only if fewer other messages to several groups came between.
    const int MaxMessages = 16 * 1024;

    readonly Dictionary<long, EntryCopy> _newest = [];
    readonly Queue<long> _oldestFirst = new();
    readonly Lock _gate = new();

    /// <summary>
    /// Adds a copy. The caller holds the lock of the log that gets the copy, so the members of the group do not change
    /// meanwhile.
    /// </summary>
    public EntryCopy Add(long id, string group, Position position)
    {
        lock (_gate)
        {
            var earlier = _newest.GetValueOrDefault(id);
            for (var known = earlier; known is not null; known = known.Earlier)
            {
                // The node has left the group and joined it again. The history contains the same copy once more.
                if (known.LogName == group && known.Position == position) return known;
            }

            if (earlier is null)
            {
                if (_oldestFirst.Count == MaxMessages) _newest.Remove(_oldestFirst.Dequeue());
                _oldestFirst.Enqueue(id);
            }

            return _newest[id] = new(id, group, position, earlier);
        }
    }
}
