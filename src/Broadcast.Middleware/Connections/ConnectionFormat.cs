using System.Net.WebSockets;
using Broadcast.Middleware.Delivery;
using Broadcast.Middleware.Logs;

namespace Broadcast.Middleware.Connections;

/// <summary>The format in which a connection receives messages.</summary>
abstract class ConnectionFormat
{
    /// <summary>True if the format has acknowledgements, which a reconnect needs.</summary>
    public virtual bool IsReliable => false;

    /// <summary>True if the client can send messages.</summary>
    public virtual bool SendsMessages => true;

    /// <summary>
    /// Returns the encoder for the log of the home group, or for all other logs. Null if the client receives the frames
    /// of the log unchanged.
    /// </summary>
    public virtual EntryEncoder? GetEncoder(bool isHomeGroup) => null;

    /// <summary>Returns the first bytes that the client receives. Empty by default.</summary>
    /// <param name="connection">The connection.</param>
    /// <param name="reconnectionToken">
    /// The token with which the client can reconnect. Null if the client cannot reconnect.
    /// </param>
    public virtual ReadOnlyMemory<byte> GetOpening(IBroadcastConnection connection, string? reconnectionToken) =>
        default;

    /// <summary>Returns the bytes of a heartbeat message. Empty if the format has no heartbeat messages.</summary>
    public virtual ReadOnlyMemory<byte> GetHeartbeat(EndpointSettings settings) => default;

    /// <summary>Returns the last bytes that the client receives before a close frame. Empty by default.</summary>
    public virtual ReadOnlyMemory<byte> GetClosing(WebSocketCloseStatus status, string? reason) => default;
}
