using System.Buffers;
using System.Net.WebSockets;

namespace Broadcast.Middleware;

/// <summary>
/// What WebSocket clients say and hear that name a subprotocol (RFC 6455, section 1.9). Those that name none, or none that is known, speak
/// raw: a message is what was sent.
/// </summary>
/// <remarks>
/// Register one as a service of this type to add it; it takes precedence over those registered before, for the same subprotocol too.
/// <c>services.RemoveAll&lt;IBroadcastProtocol&gt;()</c> leaves the raw protocol alone. One object serves all connections, from many threads.
/// </remarks>
public interface IBroadcastProtocol
{
    /// <summary>The name of the subprotocol, as it stands in <c>Sec-WebSocket-Protocol</c>.</summary>
    string Subprotocol { get; }

    /// <summary>
    /// Writes what a client is sent for a message: UTF-8, the text of one WebSocket message. Called once for all clients of the protocol; it
    /// must not fail, or each of them is closed.
    /// </summary>
    /// <param name="output">Where to.</param>
    /// <param name="message">The message.</param>
    void Write(IBufferWriter<byte> output, in OutgoingMessage message);

    /// <summary>What a client is sent first, when it has been let in, as UTF-8; empty for nothing.</summary>
    /// <param name="connection">The client's connection.</param>
    ReadOnlyMemory<byte> Connected(IBroadcastConnection connection);

    /// <summary>What a client is sent last, before the close frame, as UTF-8; empty for nothing.</summary>
    /// <param name="status">The close code.</param>
    /// <param name="reason">For the client's developer.</param>
    ReadOnlyMemory<byte> Closing(WebSocketCloseStatus status, string? reason);

    /// <summary>A client has sent a message. An exception ends its connection with 1011.</summary>
    /// <param name="context">The connection, and what can be done for it.</param>
    /// <param name="message">What it has sent; its bytes are gone when the task ends.</param>
    Task ReceiveAsync(ProtocolContext context, Message message);
}
