using System.Buffers;
using System.Net.WebSockets;

namespace Broadcast.Middleware.Protocols;

/// <summary>
/// The protocol of plain WebSocket clients. Each WebSocket message is a message to or from the home group.
/// </summary>
sealed class RawProtocol : IBroadcastProtocol
{
    public string Subprotocol => "";

    /// <summary>
    /// Writes the payload. Raw clients do not need this method, because they receive the frames of the log.
    /// </summary>
    public void Write(IBufferWriter<byte> output, in OutgoingMessage message) =>
        output.Write(message.Message.Payload.Span);

    public ReadOnlyMemory<byte> Connected(IBroadcastConnection connection) => default;

    public ReadOnlyMemory<byte> Closing(WebSocketCloseStatus status, string? reason) => default;

    public Task ReceiveAsync(ProtocolContext context, Message message) => context.PublishAsReceivedAsync(message);
}
