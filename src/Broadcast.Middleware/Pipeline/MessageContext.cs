namespace Broadcast.Middleware;

/// <summary>A connection has sent a message. The context is used again for its next one: keep nothing of it past the filter's task.</summary>
public sealed class MessageContext : FilterContext
{
    readonly Recipients _home;
    Message _received;

    internal MessageContext(Broadcaster broadcaster, Connection connection) : base(broadcaster, connection) =>
        _home = Recipients.Group(connection.HomeGroup);

    /// <summary>The message; set it to publish another one instead. The bytes of the one received are gone when the filter's task ends.</summary>
    public Message Message { get; set; }

    /// <summary>The message as text. Reading decodes it, setting it makes a text message.</summary>
    public string Text
    {
        get => Message.ToString();
        set => Message = Message.FromText(value);
    }

    /// <summary>Whom it is published to: at first the connection's home group, the sender included.</summary>
    public Recipients Recipients { get; set; }

    /// <summary>
    /// Null for a message that is to be published. Else the name of an event, in protocols that have them: something the client tells the
    /// app and nobody else. A filter takes it by not calling next; one that nobody takes is answered with an error.
    /// </summary>
    public string? Event { get; internal set; }

    /// <summary>What became of it, after next.</summary>
    public PublishResult Result { get; internal set; }

    /// <summary>The message is for everybody else.</summary>
    public void ExcludeSender() => Recipients = Recipients.Except(OwnConnection.Itself);

    /// <summary>The framework has checked what was received; what a filter made has yet to be.</summary>
    internal bool IsAsReceived =>
        Message.Type == _received.Type && Message.IsJson == _received.IsJson && Message.Payload.Equals(_received.Payload);

    /// <summary>Whatever filters have made of it, it is the client's.</summary>
    internal Message Outcome => Message with { Sender = _received.Sender };

    /// <summary>No filter has taken the event.</summary>
    internal bool IsUnhandled { get; set; }

    internal void Reset(Message received)
    {
        (_received, Message, Recipients, Result) = (received, received, _home, default);
        (Event, IsUnhandled) = (null, false);
    }
}
