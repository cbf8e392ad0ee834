namespace Broadcast.Middleware.Protocols;

/// <summary>
/// The subprotocol <c>json.reliable.webpubsub.azure.v1</c>. Messages have increasing IDs, and the client acknowledges
/// them. A client that reconnects with its token receives the messages that it has not acknowledged.
/// </summary>
sealed class ReliableJsonProtocol : JsonProtocol
{
    public override string Subprotocol => "json.reliable.webpubsub.azure.v1";

    protected override void Acknowledge(ProtocolContext context, ulong sequenceId) => context.Acknowledge(sequenceId);
}
