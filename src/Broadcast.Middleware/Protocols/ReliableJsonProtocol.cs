namespace Broadcast.Middleware.Protocols;

/// <summary>
/// The subprotocol <c>json.reliable.webpubsub.azure.v1</c>. Each message has a sequence ID, and the client acknowledges
/// the received messages. A client that reconnects with its token receives all messages that the client has not
/// acknowledged.
/// </summary>
sealed class ReliableJsonProtocol : JsonProtocol
{
    public override string Subprotocol => "json.reliable.webpubsub.azure.v1";

    protected override void Acknowledge(ProtocolContext context, ulong sequenceId) => context.Acknowledge(sequenceId);
}
