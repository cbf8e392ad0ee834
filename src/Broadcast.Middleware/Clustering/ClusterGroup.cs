using Broadcast.Middleware.Delivery;
using Broadcast.Middleware.Logs;

namespace Broadcast.Middleware.Clustering;

/// <summary>A group of the cluster that this node has subscribed to.</summary>
/// <param name="name">The name of the group.</param>
/// <param name="copies">Links the copies of a message that goes to several groups.</param>
/// <param name="time">The time provider.</param>
sealed class ClusterGroup(string name, CopyTracker copies, TimeProvider time)
{
    readonly Lock _gate = new();

    // The messages that arrive before the subscription succeeds.
    List<(Position Position, byte[] Message, bool IsTransient)>? _early = [];
    bool _isLost;

    public string Name => name;

    /// <summary>
    /// The number of memberships and pending joins. Only <see cref="ClusterGroups"/> uses this property.
    /// </summary>
    public int Uses { get; set; }

    /// <summary>
    /// The task of the subscription. When the task succeeds, <see cref="Group"/> exists. Only
    /// <see cref="ClusterGroups"/> uses this property.
    /// </summary>
    public Task? Ready { get; set; }

    /// <summary>
    /// True after the subscription has succeeded or failed. Only <see cref="ClusterGroups"/> uses this property.
    /// </summary>
    public bool IsSettled { get; set; }

    /// <summary>The group on this node. Null until the subscription succeeds.</summary>
    public Group? Group { get; private set; }

    /// <summary>
    /// True if messages are permanently missing. A lost subscription ends when the last member leaves, or before the
    /// next member joins.
    /// </summary>
    public bool IsLost
    {
        get
        {
            lock (_gate) return _isLost;
        }
    }

    /// <summary>
    /// Starts the log after the subscription has succeeded. The method adds the retained values that are older than the
    /// history, and appends the history. Then the method appends the messages that arrived before this call.
    /// </summary>
    /// <returns>False if messages are already missing.</returns>
    /// <exception cref="InvalidDataException">A message is missing or invalid.</exception>
    public bool Start(
        Group group, IEnumerable<(long Offset, ClusterMessage Message)> retained, IEnumerable<ClusterMessage> history)
    {
        lock (_gate)
        {
            Group = group;
            foreach (var (offset, message) in retained) Retain(group, offset, message);
            foreach (var message in history) Append(group, message);
            var early = _early!;
            _early = null;
            foreach (var (position, message, isTransient) in early) Accept(group, position, message, isTransient);
            if (_isLost) group.Break();
            return !_isLost;
        }
    }

    /// <summary>Appends a message. Before the subscription succeeds, the method stores the message instead.</summary>
    /// <param name="position">
    /// The position of the message. For a transient message, the position of the last message before this message.
    /// </param>
    /// <param name="message">The message.</param>
    /// <param name="isTransient">True for a transient message.</param>
    /// <returns>
    /// The <see cref="ClusterMessage.TraceParent"/> of the message. Also null if the method did not append the message.
    /// </returns>
    /// <exception cref="InvalidDataException">The message is invalid, or an earlier message is missing.</exception>
    public string? OnMessage(Position position, ReadOnlyMemory<byte> message, bool isTransient)
    {
        lock (_gate)
        {
            if (_early is null) return Accept(Group!, position, message, isTransient);
            _early.Add((position, message.ToArray(), isTransient));
            return null;
        }
    }

    /// <summary>
    /// Marks the group as broken, because messages are permanently missing. The server closes the connection of each
    /// member after the cursor of the member has reached the end of the log.
    /// </summary>
    public void Break()
    {
        lock (_gate)
        {
            if (_isLost) return;
            _isLost = true;
            Group?.Break();
        }
    }

    string? Accept(Group group, Position position, ReadOnlyMemory<byte> message, bool isTransient)
    {
        // Ignore late messages of an earlier subscription. After a loss, ignore every message.
        var nextOffset = isTransient ? group.NextOffset - 1 : group.NextOffset;
        if (_isLost || position.Epoch != group.Epoch || position.Offset < nextOffset) return null;
        // The log numbers messages without gaps. After a gap, every later message would get a wrong position.
        if (position.Offset > nextOffset)
        {
            throw new InvalidDataException(
                $"The cluster delivered {(isTransient ? "a transient message after " : "")}message {position.Offset} " +
                "of a group, " +
                $"but message {group.NextOffset} is missing. " +
                "Fix the IBackplane implementation: it must call OnLost if messages are missing.");
        }

        var received = ClusterMessage.Decode(message);
        if (received.Message.IsTransient != isTransient)
        {
            throw new InvalidDataException(
                "The cluster delivered a transient message as a numbered message, or a numbered message as a " +
                "transient message. " +
                "Fix the IBackplane implementation: it must pass each message to the matching method of the receiver.");
        }

        Append(group, received);
        return received.TraceParent;
    }

    void Retain(Group group, long offset, ClusterMessage received)
    {
        if (received.Message.Key is null) return;
        var metadata = received.Metadata;
        if (received.CopyId != 0)
        {
            var copy = copies.Add(received.CopyId, received.PublishedAt, name, new(group.Epoch, offset));
            metadata = EntryMetadata.WithCopy(metadata, copy);
        }

        group.Retain(received.Message, metadata, offset, time.GetUtcNow() - received.PublishedAt);
    }

    void Append(Group group, ClusterMessage received)
    {
        var age = time.GetUtcNow() - received.PublishedAt;
        Func<Position, EntryCopy>? createCopy = null;
        if (received.CopyId != 0)
            createCopy = position => copies.Add(received.CopyId, received.PublishedAt, name, position);
        group.Append(received.Message, received.Metadata, age, createCopy);
    }
}
