using Broadcast.Middleware.Logs;

namespace Broadcast.Middleware.Clustering;

/// <summary>
/// Links the copies of a message to several groups when the copies arrive on this node. A reader can then recognize a
/// copy of a message that the reader has already read. The tracker stores nothing for each reader.
/// </summary>
/// <param name="idWindow">
/// See <see cref="BroadcastOptions.MessageIdWindow"/>. After this time, another message can have the same ID.
/// </param>
sealed class CopyTracker(TimeSpan idWindow)
{
    // The maximum number of messages that the tracker stores. Only messages to several groups count. The tracker does
    // not recognize copies of older messages.
    const int MaxMessages = 16 * 1024;

    readonly Dictionary<long, (EntryCopy Copy, DateTimeOffset PublishedAt)> _newest = [];
    readonly Queue<(long Id, long Number)> _oldestFirst = new();
    readonly Lock _gate = new();
    long _messages;

    /// <summary>
    /// Adds a copy. The caller holds the lock of the log that receives the copy, so no member can join or leave during
    /// the call.
    /// </summary>
    /// <param name="id">See <see cref="ClusterMessage.CopyId"/>.</param>
    /// <param name="publishedAt">See <see cref="ClusterMessage.PublishedAt"/>.</param>
    /// <param name="group">The name of the group.</param>
    /// <param name="position">The position of the copy in the group.</param>
    public EntryCopy Add(long id, DateTimeOffset publishedAt, string group, Position position)
    {
        lock (_gate)
        {
            var newest = _newest.GetValueOrDefault(id);
            var earlier = IsSameMessage(newest.PublishedAt, publishedAt) ? newest.Copy : null;
            for (var known = earlier; known is not null; known = known.Earlier)
            {
                if (known.LogName != group) continue;
                // The node has left and rejoined the group, so the history delivers the same copy again.
                if (known.Position == position) return known;
                // A group receives a message once. So this copy belongs to another message with the same ID.
                earlier = null;
                break;
            }

            // Two messages can have the same copy ID. So the copies of one message share a number that is unique on
            // this node.
            var copy = new EntryCopy(earlier?.Id ?? ++_messages, group, position, earlier);
            if (earlier is null) MakeRoomFor(id, copy.Id);
            _newest[id] = (copy, earlier is null ? publishedAt : newest.PublishedAt);
            return copy;
        }
    }

    void MakeRoomFor(long id, long number)
    {
        if (_oldestFirst.Count == MaxMessages)
        {
            var oldest = _oldestFirst.Dequeue();
            // A newer message may have the ID of the oldest message.
            if (_newest[oldest.Id].Copy.Id == oldest.Number) _newest.Remove(oldest.Id);
        }

        _oldestFirst.Enqueue((id, number));
    }

    bool IsSameMessage(DateTimeOffset first, DateTimeOffset second) => (second - first).Duration() < idWindow;
}
