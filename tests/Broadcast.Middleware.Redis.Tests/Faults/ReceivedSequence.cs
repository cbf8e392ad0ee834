namespace Broadcast.Middleware.Redis.Tests.Faults;

/// <summary>The messages that one connection has received, without gaps, from its join position.</summary>
sealed class ReceivedSequence(JoinResult joined)
{
    readonly List<MessageId> _messages = [];

    /// <summary>The position of the join. The first received message follows this position.</summary>
    public Position Start { get; } = joined.Position!.Value;

    /// <summary>
    /// True if the join recovered the client's position. Null if the client joined without a position.
    /// </summary>
    public bool? Recovered => joined.Recovered;

    /// <summary>True if the connection ended with the notice that messages may be missing.</summary>
    public bool IsNotifiedOfLoss { get; set; }

    /// <summary>The position of the last received message.</summary>
    public Position End
    {
        get
        {
            lock (_messages) return new(Start.Epoch, Start.Offset + _messages.Count);
        }
    }

    public MessageId[] Messages
    {
        get
        {
            lock (_messages) return [.. _messages];
        }
    }

    public void Add(MessageId message)
    {
        lock (_messages) _messages.Add(message);
    }

    /// <summary>Returns true if the connection received the message at this position.</summary>
    public bool Contains(MessageId message, Position position)
    {
        lock (_messages)
        {
            var index = position.Offset - Start.Offset - 1;
            return position.Epoch == Start.Epoch && index >= 0 && index < _messages.Count
                && _messages[(int)index] == message;
        }
    }
}
