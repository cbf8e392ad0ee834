namespace Broadcast.Middleware;

/// <summary>A message that an <see cref="IBroadcastProtocol"/> encodes for its clients.</summary>
public readonly ref struct OutgoingMessage
{
    internal OutgoingMessage(Message message, string? group, MessageSender? sender, long? sequenceId) =>
        (Message, Group, Sender, SequenceId) = (message, group, sender, sequenceId);

    /// <summary>The published message. Only the payload, the type and <see cref="Message.IsJson"/> are set.</summary>
    public Message Message { get; }

    /// <summary>The group. Null for a message to all connections, a user or a connection.</summary>
    public string? Group { get; }

    /// <summary>The client that sent the message. Null if the app or a raw client sent the message.</summary>
    public MessageSender? Sender { get; }

    /// <summary>The sequence ID that the client acknowledges. Null in protocols without acknowledgements.</summary>
    internal long? SequenceId { get; }
}
