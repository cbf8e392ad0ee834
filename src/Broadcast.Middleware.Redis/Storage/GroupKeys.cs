using StackExchange.Redis;

namespace Broadcast.Middleware.Redis.Storage;

/// <summary>The names of the keys and the channel of one group.</summary>
/// <remarks>Invariant: all keys share one hash tag, so they are in one slot of a Redis Cluster.</remarks>
sealed class GroupKeys(string start, byte[] channel, byte[] fullChannel)
{
    /// <summary>A hash with the current state of the group.</summary>
    /// <remarks>
    /// The fields of the hash are the epoch (e), the last offset (o), the tag of the last batch (g) and the total bytes
    /// (b). The field x contains the retention, and the time at which a script last renewed the expirations. Each
    /// publishing node also has a field with the number and the result of its last batch.
    /// </remarks>
    public RedisKey State { get; } = start + ":s";

    /// <summary>A stream of batches. The ID of an entry is the offset of its last message.</summary>
    /// <remarks>
    /// The fields of an entry are the number of messages (c), the time (t), the tag (g), the body (b) and the tag of
    /// the previous batch (p).
    /// </remarks>
    public RedisKey Stream { get; } = start + ":h";

    /// <summary>
    /// A list with the last offset, the total bytes and the time of each batch in the stream. The publish script uses
    /// this list to trim the stream without reading message bodies.
    /// </summary>
    public RedisKey Index { get; } = start + ":i";

    /// <summary>
    /// A hash with the newest message of each message key. A value contains the offset of the message, a space and the
    /// message. Only a group that retains messages has this hash. The field whose name is the empty string contains the
    /// epoch and the total bytes. If this epoch differs from the epoch in the state, the hash is obsolete.
    /// </summary>
    public RedisKey Retained { get; } = start + ":r";

    /// <summary>The set of nodes that have members in the group.</summary>
    public RedisKey Nodes { get; } = start + ":n";

    /// <summary>
    /// The channel name for subscriptions. StackExchange.Redis adds the channel prefix of the connection.
    /// </summary>
    public byte[] Channel { get; } = channel;

    /// <summary>The channel name with the channel prefix. Scripts use this name.</summary>
    public byte[] FullChannel { get; } = fullChannel;

    /// <summary>
    /// A string with the epoch and the offset of the message that has this ID. The key exists until the ID expires.
    /// </summary>
    public RedisKey MessageId(string id) => $"{start}:d:{KeySpace.Escape(id)}";

    /// <summary>
    /// A string with the value of a reservation: see <see cref="IBackplane.ReserveAsync"/>. The key exists until the
    /// window of the reservation ends.
    /// </summary>
    public RedisKey Reservation(string id) => $"{start}:v:{KeySpace.Escape(id)}";

    /// <summary>A hash with the group's members on one node.</summary>
    public RedisKey Members(string node) => $"{start}:m:{node}";
}
