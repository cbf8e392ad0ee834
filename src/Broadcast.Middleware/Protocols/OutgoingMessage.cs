namespace Broadcast.Middleware;

/// <summary>A message on its way to the clients of an <see cref="IBroadcastProtocol"/>.</summary>
public readonly ref struct OutgoingMessage
{
    internal OutgoingMessage(Message message, string? group, MessageSender? sender, long? sequenceId) =>
        (Message, Group, Sender, SequenceId) = (message, group, sender, sequenceId);

    /// <summary>What was published. Its key is not known here.</summary>
    public Message Message { get; }

    /// <summary>The group it was published to; null if it was for all, a user or a connection.</summary>
    public string? Group { get; }

    /// <summary>The client that sent it in this protocol or one like it; null for the app, and for clients that speak raw.</summary>
    public MessageSender? Sender { get; }

    /// <summary>What the client acknowledges it by; null in protocols that have no such thing.</summary>
    internal long? SequenceId { get; }
}

/// <summary>A client that has sent a message.</summary>
/// <param name="ConnectionId">As in <see cref="IBroadcastConnection.Id"/>.</param>
/// <param name="UserId">As in <see cref="IBroadcastConnection.UserId"/>.</param>
public sealed record MessageSender(string ConnectionId, string? UserId);
