using System.Buffers;
using System.Net.WebSockets;

namespace Broadcast.Middleware;

/// <summary>How messages look to connections that do not take WebSocket frames as they stand in the log.</summary>
abstract class WireFormat
{
    /// <summary>Whether the reader learns from a message where it stands in the group.</summary>
    public virtual bool TellsPosition => false;

    /// <summary>The same without sequence numbers, if it has any.</summary>
    public virtual WireFormat Unsequenced => this;

    /// <summary>Writes one message of a block.</summary>
    public abstract void Write(IBufferWriter<byte> to, MessageLog log, Block block, int index);

    /// <summary>What a connection is sent when it has joined, before any message; nothing by default.</summary>
    /// <param name="connection">The connection.</param>
    /// <param name="position">The message after which it hears everything.</param>
    /// <param name="recovered">Whether that is the one it asked for; null if it asked for none.</param>
    public virtual ReadOnlyMemory<byte> Opening(Connection connection, Position position, bool? recovered) => default;

    /// <summary>What a connection is sent before its close frame; nothing by default.</summary>
    public virtual ReadOnlyMemory<byte> Closing(WebSocketCloseStatus status, string? reason) => default;
}
