namespace Broadcast.Middleware;

/// <summary>A group of the cluster that this node has subscribed to.</summary>
sealed class ClusterGroup(string name)
{
    readonly Lock _gate = new();
    List<(Position Position, byte[] Message)>? _early = [];
    bool _isLost;

    public string Name => name;

    /// <summary>How many memberships, and joins under way, need it; the cluster's.</summary>
    public int Holds { get; set; }

    /// <summary>Ends when <see cref="Group"/> is there, and fails if that cannot be; the cluster's.</summary>
    public Task? Ready { get; set; }

    /// <summary>The backplane has answered; the cluster's.</summary>
    public bool IsSettled { get; set; }

    /// <summary>Its log on this node, from the subscription on.</summary>
    public Group? Group { get; private set; }

    /// <summary>Something is missing. The subscription ends when the last member has left, or before the next one comes.</summary>
    public bool IsLost
    {
        get
        {
            lock (_gate) return _isLost;
        }
    }

    /// <summary>The subscription stands: fills the log with what the cluster keeps, and with what has come meanwhile. False if all that is lost already.</summary>
    /// <exception cref="InvalidDataException">Something that has come meanwhile is missing, or cannot be read.</exception>
    public bool Begin(Group group, IEnumerable<ClusterMessage> history, Broadcaster broadcaster)
    {
        lock (_gate)
        {
            Group = group;
            foreach (var message in history) Append(message, broadcaster);
            var early = _early!;
            _early = null;
            foreach (var (position, message) in early) Take(position, message, broadcaster);
            if (_isLost) group.Break();
            return !_isLost;
        }
    }

    /// <exception cref="InvalidDataException">It cannot be read, or one before it is missing.</exception>
    public void OnMessage(Position position, ReadOnlyMemory<byte> message, Broadcaster broadcaster)
    {
        lock (_gate)
        {
            if (_early is not null) _early.Add((position, message.ToArray()));
            else Take(position, message, broadcaster);
        }
    }

    void Take(Position position, ReadOnlyMemory<byte> message, Broadcaster broadcaster)
    {
        // What was on its way when an earlier subscription ended is known already; behind the end of a log nothing is read.
        if (_isLost || position.Epoch != Group!.Epoch || position.Offset < Group.NextOffset) return;
        // Else all that follows would stand at a wrong place.
        if (position.Offset > Group.NextOffset) throw new InvalidDataException($"Message {position.Offset} of a group has come, and {Group.NextOffset} has not.");
        Append(ClusterMessage.Decode(message), broadcaster);
    }

    /// <summary>Something is missing: whoever reads it is told.</summary>
    public void Break()
    {
        lock (_gate)
        {
            _isLost = true;
            Group?.Break();
        }
    }

    void Append(ClusterMessage received, Broadcaster broadcaster)
    {
        var exclusions = received.Excluded.Count == 0 ? null : new Exclusions(received.Excluded);
        exclusions = Exclusions.Of(received.Message, exclusions);
        var age = broadcaster.Time.GetUtcNow() - received.PublishedAt;
        Group!.Append(received.Message, exclusions, age, received.SharedId, broadcaster.Cluster!.Copies);
    }
}
