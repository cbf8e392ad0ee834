using System.Net.WebSockets;

namespace Broadcast.Middleware;

/// <summary>Where a connection's bytes leave. Used by one writer, one call at a time.</summary>
abstract class Sink
{
    static readonly byte[] PingFrame = [0x89, 0];

    /// <summary>Sends a run of whole frames as <see cref="Frame"/> encodes them. The memory stays untouched until the task ends.</summary>
    public abstract ValueTask WriteAsync(ReadOnlyMemory<byte> frames);

    /// <summary>
    /// Grows whenever the peer has sent something; null if the sink takes no ping frames, because whoever owns the socket watches the peer.
    /// </summary>
    public virtual int? Heard => null;

    /// <summary>What is sent to see whether the peer is there.</summary>
    public virtual ReadOnlyMemory<byte> Ping => PingFrame;

    /// <summary>The peer is spared so many messages, and is to be told if its protocol has a word for it.</summary>
    public virtual void OnSkipped(long messages) { }

    /// <summary>What is to be told, once.</summary>
    public virtual ReadOnlyMemory<byte> TakeNotice() => default;

    /// <summary>How many bytes the peer's system has taken so far; null if that cannot be known.</summary>
    public virtual long? Acknowledged => null;

    /// <summary>Sends a close frame (RFC 6455, section 5.5.1), after everything written before.</summary>
    public abstract Task CloseAsync(WebSocketCloseStatus status, string? reason);
}
