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

    /// <summary>Its log on this node, from the subscription on.</summary>
    public Group? Group { get; private set; }

    /// <summary>The subscription stands: fills the log with what the cluster keeps, and with what has come meanwhile. False if all that is lost already.</summary>
    public bool Begin(Group group, BackplaneSubscription subscription, Broadcaster broadcaster)
    {
        lock (_gate)
        {
            Group = group;
            foreach (var message in subscription.History) Append(ClusterMessage.Decode(message), broadcaster);
            foreach (var (position, message) in _early!)
            {
                if (position.Epoch == subscription.Position.Epoch && position.Offset > subscription.Position.Offset) Append(ClusterMessage.Decode(message), broadcaster);
            }

            _early = null;
            if (_isLost) group.Break();
            return !_isLost;
        }
    }

    public void OnMessage(Position position, ReadOnlyMemory<byte> message, Broadcaster broadcaster)
    {
        lock (_gate)
        {
            if (_early is not null) _early.Add((position, message.ToArray()));
            // What was on its way when an earlier subscription ended is known already.
            else if (position.Epoch == Group!.Epoch && position.Offset >= Group.NextOffset) Append(ClusterMessage.Decode(message), broadcaster);
        }
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
        if (received.SharedId != 0) exclusions = Exclusions.Copy(exclusions, received.SharedId);
        Group!.Append(received.Message, exclusions, broadcaster.Time.GetUtcNow() - DateTimeOffset.FromUnixTimeMilliseconds(received.PublishedAt));
    }
}
