using System.Buffers;
using System.Net.WebSockets;

namespace Broadcast.Middleware.Protocols;

/// <summary>
/// The protocol of plain WebSocket clients. The server publishes each WebSocket message to the home group and adds
/// nothing to the payload.
/// </summary>
/// <param name="subprotocol">
/// The subprotocol, for example an entry of <see cref="BroadcastOptions.RawSubprotocols"/>. Empty for clients that
/// request no subprotocol.
/// </param>
sealed class RawProtocol(string subprotocol) : IBroadcastProtocol
{
    public string Subprotocol => subprotocol;

    /// <summary>
    /// Writes the payload. The server does not call this method for raw clients, because the frames of the log are
    /// already raw messages.
    /// </summary>
    public void Write(IBufferWriter<byte> output, in OutgoingMessage message) =>
        output.Write(message.Message.Payload.Span);

    public ReadOnlyMemory<byte> Connected(IBroadcastConnection connection) => default;

    public ReadOnlyMemory<byte> Closing(WebSocketCloseStatus status, string? reason) => default;

    public Task ReceiveAsync(ProtocolContext context, Message message) => context.PublishAsReceivedAsync(message);
}
