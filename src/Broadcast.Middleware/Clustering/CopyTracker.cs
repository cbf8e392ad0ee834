using Broadcast.Middleware.Logs;

namespace Broadcast.Middleware.Clustering;

/// <summary>
/// Links the copies of a message to several groups when the copies arrive on this node. A reader can then recognize a
/// copy of a message that it has already read. The tracker stores nothing for each reader and has no time limit.
/// </summary>
sealed class CopyTracker
{
    // The number of messages that the tracker remembers. Only messages to several groups count. The tracker does not
    // recognize copies of older messages.
    const int MaxMessages = 16 * 1024;

    readonly Dictionary<long, EntryCopy> _newest = [];
    readonly Queue<long> _oldestFirst = new();
    readonly Lock _gate = new();

    /// <summary>
    /// Adds a copy. The caller holds the lock of the log that receives the copy, so no member can join or leave during
    /// the call.
    /// </summary>
    public EntryCopy Add(long id, string group, Position position)
    {
        lock (_gate)
        {
            var earlier = _newest.GetValueOrDefault(id);
            for (var known = earlier; known is not null; known = known.Earlier)
            {
                // The node has left and rejoined the group, so the history delivers the same copy again.
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
