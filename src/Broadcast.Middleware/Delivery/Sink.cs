using System.Net.WebSockets;
using Broadcast.Middleware.Logs;

namespace Broadcast.Middleware.Delivery;

/// <summary>
/// Sends the bytes of a connection. Only one writer uses a sink, and this writer waits for each write.
/// </summary>
abstract class Sink
{
    static readonly byte[] PingFrame = [0x89, 0];

    /// <summary>The compression of messages. Null if the handshake has not negotiated compression.</summary>
    public FrameCompression? Compression { get; init; }

    /// <inheritdoc cref="ILogSubscriber.Prefetch"/>
    public virtual int Prefetch() => 0;

    /// <summary>
    /// Sends consecutive whole frames. The caller must not change the memory until the task completes.
    /// </summary>
    public abstract ValueTask WriteAsync(ReadOnlyMemory<byte> frames);

    /// <summary>
    /// A counter that changes when the client sends bytes. Null if another component watches the client.
    /// </summary>
    public virtual int? Received => null;

    /// <summary>The bytes that the writer sends to check whether the client is alive.</summary>
    public virtual ReadOnlyMemory<byte> Ping => PingFrame;

    /// <summary>
    /// The number of bytes that the operating system of the client has acknowledged. Null if the number is unknown.
    /// </summary>
    public virtual long? Acknowledged => null;

    /// <summary>
    /// Records that the writer skipped messages. The sink may notify the client with <see cref="TakeNotice"/>.
    /// </summary>
    public virtual void OnSkipped(long messages) { }

    /// <summary>
    /// Returns the pending notice for the client and clears the notice. Empty without a pending notice.
    /// </summary>
    public virtual ReadOnlyMemory<byte> TakeNotice() => default;

    /// <summary>Sends a close frame (RFC 6455, section 5.5.1) after all earlier writes.</summary>
    public abstract Task CloseAsync(WebSocketCloseStatus status, string? reason);
}
