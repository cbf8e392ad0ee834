namespace Broadcast.Middleware.Redis.Tests.Apps;

/// <summary>What one connection has heard, from the place in the order where it joined.</summary>
sealed class Stretch(JoinResult joined)
{
    readonly List<MessageId> _heard = [];

    /// <summary>The message after which it hears everything.</summary>
    public Position Start { get; } = joined.Position!.Value;

    /// <summary>Null where it did not come back.</summary>
    public bool? Recovered => joined.Recovered;

    /// <summary>Whether it ended with the news that messages may be missing.</summary>
    public bool WasTold { get; set; }

    /// <summary>The last message it has.</summary>
    public Position End
    {
        get
        {
            lock (_heard) return Start with { Offset = Start.Offset + _heard.Count };
        }
    }

    public MessageId[] Heard
    {
        get
        {
            lock (_heard) return [.. _heard];
        }
    }

    public void Add(MessageId message)
    {
        lock (_heard) _heard.Add(message);
    }

    /// <summary>Whether this message stands there.</summary>
    public bool Has(MessageId message, Position position)
    {
        lock (_heard)
        {
            var index = position.Offset - Start.Offset - 1;
            return position.Epoch == Start.Epoch && index >= 0 && index < _heard.Count && _heard[(int)index] == message;
        }
    }
}
