using System.Text;
using Broadcast.Middleware.Testing.Hosting;
using Broadcast.Middleware.Testing.Wire;

namespace Broadcast.Middleware.Testing;

/// <summary>
/// A WebSocket client without a subprotocol. The client receives each message as a WebSocket text or binary message.
/// Create a client with <see cref="BroadcastTestHost.ConnectAsync"/>.
/// </summary>
public sealed class RawTestClient : WebSocketTestClient
{
    internal RawTestClient(TestClientState state, InMemoryStream stream, WebSocketWire wire)
        : base(state, stream, wire)
    {
    }

    /// <summary>Sends a text message.</summary>
    /// <param name="text">The text.</param>
    /// <exception cref="BroadcastTestException">The connection has ended.</exception>
    public Task SendAsync(string text)
    {
        ArgumentNullException.ThrowIfNull(text);
        return SendAsync(MessageType.Text, Encoding.UTF8.GetBytes(text));
    }

    /// <summary>Sends a binary message.</summary>
    /// <param name="bytes">The bytes.</param>
    /// <exception cref="BroadcastTestException">The connection has ended.</exception>
    public Task SendAsync(ReadOnlyMemory<byte> bytes) => SendAsync(MessageType.Binary, bytes);

    /// <summary>Waits for the next message.</summary>
    /// <exception cref="BroadcastTestException">The server ended the connection instead.</exception>
    public Task<Message> ReceiveAsync() => ReceiveMessageAsync("a message");

    /// <summary>Waits for the next message, which must be a text message.</summary>
    /// <exception cref="BroadcastTestException">
    /// The server sent a binary message or ended the connection instead.
    /// </exception>
    public async Task<string> ReceiveTextAsync()
    {
        var message = await ReceiveMessageAsync("a text message");
        if (message.Type == MessageType.Text) return message.ToString();
        throw new BroadcastTestException(
            $"The client expected a text message, but received a binary message of {message.Payload.Length} bytes. " +
            "Call ReceiveAsync for binary messages.");
    }

    /// <summary>
    /// Asserts that no further message has arrived, and that the connection is open. The method does not wait for a
    /// fixed time. The method waits until the server has sent all messages that the app published before this call.
    /// </summary>
    /// <remarks>
    /// To wait until the server has handled the messages of other clients, first call
    /// <see cref="WebSocketTestClient.PingAsync"/> of these clients. To find the end of the earlier messages, the
    /// method publishes a marker message, which the client discards. The metrics of the app count the marker message.
    /// </remarks>
    /// <exception cref="BroadcastTestException">The client received a message, or the connection ended.</exception>
    public Task ReceiveNothingAsync() => CheckNothingReceivedAsync();
}
