using System.Net.WebSockets;

namespace Broadcast.Middleware;

/// <summary>Where a connection's bytes leave. Used by one writer, one call at a time.</summary>
abstract class Sink
{
    /// <summary>Sends a run of whole frames as <see cref="Frame"/> encodes them. The memory stays untouched until the task ends.</summary>
    public abstract ValueTask WriteAsync(ReadOnlyMemory<byte> frames);

    /// <summary>
    /// Grows whenever the peer has sent something; null if the sink takes no ping frames, because whoever owns the socket watches the peer.
    /// </summary>
    public virtual int? Heard => null;

    /// <summary>How many bytes the peer's system has taken so far; null if that cannot be known.</summary>
    public virtual long? Acknowledged => null;

    /// <summary>Sends a close frame (RFC 6455, section 5.5.1), after everything written before.</summary>
    public abstract Task CloseAsync(WebSocketCloseStatus status, string? reason);
}
