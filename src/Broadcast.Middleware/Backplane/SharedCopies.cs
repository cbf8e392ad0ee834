namespace Broadcast.Middleware;

/// <summary>One of the copies of a message to several groups, and those that came to this node before.</summary>
/// <param name="Id">The same for all copies.</param>
/// <param name="Group">Where this one stands.</param>
/// <param name="Position">And at which place.</param>
/// <param name="Earlier">The one before, in whatever group; null for none.</param>
sealed record SharedCopy(long Id, string Group, Position Position, SharedCopy? Earlier);

/// <summary>
/// Which copies of the messages to several groups have come to this node. From that a reader knows, of each copy, whether it has another one
/// to read: how far apart they come does not matter, and nothing is kept for each reader.
/// </summary>
sealed class SharedCopies
{
    // So many other messages to several groups may come between two copies of one.
    const int Most = 16 * 1024;

    readonly Dictionary<long, SharedCopy> _newest = [];
    readonly Queue<long> _ids = new();
    readonly Lock _gate = new();

    /// <summary>The caller holds the gate of the log in which the copy will stand, so that it is settled who is a member for it.</summary>
    public SharedCopy Add(long id, string group, Position position)
    {
        lock (_gate)
        {
            var earlier = _newest.GetValueOrDefault(id);
            for (var known = earlier; known is not null; known = known.Earlier)
            {
                // It comes again, from the history, after the group was away from this node.
                if (known.Group == group && known.Position == position) return known;
            }

            if (earlier is null)
            {
                if (_ids.Count == Most) _newest.Remove(_ids.Dequeue());
                _ids.Enqueue(id);
            }

            return _newest[id] = new(id, group, position, earlier);
        }
    }
}
