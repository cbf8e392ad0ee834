using System.Buffers;
using System.Net.WebSockets;

namespace Broadcast.Middleware;

/// <summary>No protocol: what a client sends is a message to its home group, and what it gets is what others have sent.</summary>
sealed class RawProtocol : IBroadcastProtocol
{
    /// <summary>None.</summary>
    public string Subprotocol => "";

    /// <summary>As messages stand in the log: nobody has to be asked.</summary>
    public void Write(IBufferWriter<byte> output, in OutgoingMessage message) => output.Write(message.Message.Payload.Span);

    public ReadOnlyMemory<byte> Connected(IBroadcastConnection connection) => default;

    public ReadOnlyMemory<byte> Closing(WebSocketCloseStatus status, string? reason) => default;

    public Task ReceiveAsync(ProtocolContext context, Message message) => context.PublishAsReceivedAsync(message);
}
