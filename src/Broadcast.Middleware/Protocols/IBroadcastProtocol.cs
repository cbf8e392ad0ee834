using System.Buffers;
using System.Net.WebSockets;

namespace Broadcast.Middleware;

/// <summary>
/// The protocol of WebSocket clients that request a subprotocol (RFC 6455, section 1.9). A client uses the raw protocol
/// if it requests no subprotocol or one of <see cref="BroadcastOptions.RawSubprotocols"/>. The raw protocol adds
/// nothing to a message.
/// </summary>
/// <remarks>
/// Register a protocol as a service of this type. A later registration takes precedence over an earlier registration of
/// the same subprotocol. <c>services.RemoveAll&lt;IBroadcastProtocol&gt;()</c> leaves only the raw protocol. One object
/// serves all connections and must be thread-safe.
/// </remarks>
public interface IBroadcastProtocol
{
    /// <summary>The name of the subprotocol in <c>Sec-WebSocket-Protocol</c>.</summary>
    string Subprotocol { get; }

    /// <summary>
    /// Writes the UTF-8 text that clients receive for a message. The server sends this text as one WebSocket text
    /// message.
    /// </summary>
    /// <remarks>
    /// For each message, the server calls this method once for all clients of the protocol. If the method throws, the
    /// server closes the connections of all these clients.
    /// </remarks>
    /// <param name="output">The output.</param>
    /// <param name="message">The message.</param>
    void Write(IBufferWriter<byte> output, in OutgoingMessage message);

    /// <summary>Returns the UTF-8 text that a client receives first. The server does not send an empty text.</summary>
    /// <param name="connection">The connection of the client.</param>
    ReadOnlyMemory<byte> Connected(IBroadcastConnection connection);

    /// <summary>
    /// Returns the UTF-8 text that a client receives before the close frame. The server does not send an empty text.
    /// </summary>
    /// <param name="status">The close code.</param>
    /// <param name="reason">The reason: a text for the developer of the client.</param>
    ReadOnlyMemory<byte> Closing(WebSocketCloseStatus status, string? reason);

    /// <summary>
    /// Handles a message from a client. If the method throws, the server closes the connection with close code 1011.
    /// </summary>
    /// <param name="context">The connection and its actions.</param>
    /// <param name="message">The message. Do not use the payload after the returned task has completed.</param>
    Task ReceiveAsync(ProtocolContext context, Message message);
}
