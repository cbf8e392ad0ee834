using System.Net.WebSockets;
using Broadcast.Middleware.Diagnostics;

namespace Broadcast.Middleware.Delivery;

/// <summary>
/// The connection of a <see cref="ConnectionWriter"/>. The writer calls it on the thread of the pump.
/// </summary>
interface IWriterOwner
{
    string Id { get; }

    /// <summary>
    /// The server reads nothing from the client at the moment. Silence of the client therefore proves nothing.
    /// </summary>
    bool IsBusy { get; }

    /// <summary>The client can reconnect after its transport is lost.</summary>
    bool CanReconnect { get; }

    void OnHeartbeat();

    /// <param name="publishedAt">The publish time of the oldest message in the write.</param>
    void OnDelivering(long publishedAt);

    /// <summary>The writer skipped messages because the client is too slow.</summary>
    void OnDropped(long messages);

    /// <summary>The client has received every message that was sent to it alone.</summary>
    void OnPrivateLogRead();

    /// <summary>The client acknowledged a message that was sent on the current transport.</summary>
    void OnTransportConfirmed();

    /// <summary>The client acknowledged a number that was never sent.</summary>
    void OnInvalidAcknowledgement(long sequence);

    /// <summary>Unacknowledged messages are gone, so the client can no longer reconnect.</summary>
    void OnRecoveryImpossible();

    /// <summary>The client is too slow and must be closed.</summary>
    void OnTooSlow();

    /// <summary>The cluster has lost messages that the client should receive.</summary>
    void OnMessagesLost();

    void Abort(EndReason reason, Exception? error = null);

    /// <summary>Returns the protocol's last message before a close frame. Empty if the protocol has none.</summary>
    ReadOnlyMemory<byte> GetClosingMessage(WebSocketCloseStatus status, string? reason);
}
