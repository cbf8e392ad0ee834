namespace Broadcast.Middleware;

/// <summary>
/// The subprotocol <c>json.reliable.webpubsub.azure.v1</c>: messages have ids that grow, the client acknowledges them, and one whose line was
/// lost comes back with a token for those that it has not acknowledged.
/// </summary>
sealed class ReliableJsonProtocol : JsonProtocol
{
    public override string Subprotocol => "json.reliable.webpubsub.azure.v1";

    public override ReadOnlyMemory<byte> Connected(IBroadcastConnection connection) => Connected(connection, ((Connection)connection).Session?.FirstToken);

    /// <summary>To one who comes back.</summary>
    public static ReadOnlyMemory<byte> Reconnected(IBroadcastConnection connection, string token) => Connected(connection, token);

    protected override void Acknowledge(ProtocolContext context, ulong sequenceId) => context.Acknowledge(sequenceId);
}
