using System.Net.WebSockets;
using Broadcast.Middleware.Diagnostics;
using Broadcast.Middleware.Logs;

namespace Broadcast.Middleware.Delivery;

/// <summary>
/// The connection of a <see cref="ConnectionWriter"/>. The writer calls this interface on the thread of the pump.
/// </summary>
interface IWriterOwner
{
    string Id { get; }

    /// <summary>
    /// True while the server may read nothing from the client. A client that seems silent may then still be alive.
    /// </summary>
    bool IsBusy { get; }

    /// <summary>True if the client can reconnect after the loss of its transport.</summary>
    bool CanReconnect { get; }

    /// <summary>
    /// A heartbeat message in the format of the client. Empty if the client receives no heartbeat messages.
    /// </summary>
    ReadOnlyMemory<byte> HeartbeatMessage => default;

    void OnHeartbeat();

    /// <summary>Measures the latency of the messages that the writer is about to send.</summary>
    /// <param name="publishedAt">The publish time of the oldest message in the write.</param>
    void OnDelivering(long publishedAt);

    /// <summary>Reports that the writer skipped messages because the client is too slow.</summary>
    void OnDropped(long messages);

    /// <summary>Reports that the writer has read every message in the private log of the connection.</summary>
    /// <param name="readByte">See <see cref="Cursor.ReadByte"/>.</param>
    void OnPrivateLogRead(long readByte);

    /// <summary>
    /// Reports that the server has sent a close frame. The writer sends no more messages on this transport.
    /// </summary>
    void OnCloseFrameSent();

    /// <summary>Reports that the client acknowledged a message that the server sent on the current transport.</summary>
    void OnTransportConfirmed();

    /// <summary>Reports that the client acknowledged a sequence number that the server never sent.</summary>
    void OnInvalidAcknowledgement(long sequence);

    /// <summary>
    /// Reports that unacknowledged messages are no longer available. The client can no longer reconnect.
    /// </summary>
    void OnRecoveryImpossible();

    /// <summary>Closes the connection, because the delegate of its subscription filter threw an exception.</summary>
    void OnFilterFailed(Exception exception);

    /// <summary>Closes the connection of a client that is too slow.</summary>
    void OnTooSlow();

    /// <summary>Closes the connection of a client whose messages the cluster has lost.</summary>
    void OnMessagesLost();

    void Abort(EndReason reason, Exception? error = null);

    /// <summary>
    /// Returns the protocol's last message before a close frame. Empty if the protocol has no such message.
    /// </summary>
    ReadOnlyMemory<byte> GetClosingMessage(WebSocketCloseStatus status, string? reason);
}
