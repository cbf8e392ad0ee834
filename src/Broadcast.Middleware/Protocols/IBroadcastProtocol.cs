using System.Buffers;
using System.Net.WebSockets;

namespace Broadcast.Middleware;

/// <summary>
/// The protocol of WebSocket clients that name a subprotocol (RFC 6455, section 1.9). A client that names no known
/// subprotocol uses the raw protocol: a WebSocket message is the message itself.
/// </summary>
/// <remarks>
/// Register a protocol as a service of this type. A later registration takes precedence, even for the same subprotocol.
/// <c>services.RemoveAll&lt;IBroadcastProtocol&gt;()</c> leaves only the raw protocol. One object serves all
/// connections and must be thread-safe.
/// </remarks>
public interface IBroadcastProtocol
{
    /// <summary>The name of the subprotocol in <c>Sec-WebSocket-Protocol</c>.</summary>
    string Subprotocol { get; }

    /// <summary>Writes the UTF-8 text that clients receive for a message. The text becomes one text message.</summary>
    /// <remarks>
    /// The server calls this method once for all clients of the protocol. An exception ends the connections of all
    /// these clients.
    /// </remarks>
    /// <param name="output">The output.</param>
    /// <param name="message">The message.</param>
    void Write(IBufferWriter<byte> output, in OutgoingMessage message);

    /// <summary>Returns the UTF-8 text that a client receives first. An empty text is not sent.</summary>
    /// <param name="connection">The connection of the client.</param>
    ReadOnlyMemory<byte> Connected(IBroadcastConnection connection);

    /// <summary>
    /// Returns the UTF-8 text that a client receives before the close frame. An empty text is not sent.
    /// </summary>
    /// <param name="status">The close code.</param>
    /// <param name="reason">The reason, for the developer of the client.</param>
    ReadOnlyMemory<byte> Closing(WebSocketCloseStatus status, string? reason);

    /// <summary>Handles a message of a client. An exception closes the connection with 1011.</summary>
    /// <param name="context">The connection and its actions.</param>
    /// <param name="message">The message. Its payload is invalid after the task has completed.</param>
    Task ReceiveAsync(ProtocolContext context, Message message);
}
