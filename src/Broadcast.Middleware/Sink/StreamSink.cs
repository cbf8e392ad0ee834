using System.Net.Sockets;
using System.Net.WebSockets;

namespace Broadcast.Middleware;

/// <summary>
/// Writes frames to the stream of an upgraded request as they stand in the log: one write for everything a connection lacks.
/// </summary>
/// <param name="stream">The upgraded stream.</param>
/// <param name="frames">What stands between the stream and the WebSocket.</param>
/// <param name="webSocket">The framework's WebSocket, which sends the close frame through <paramref name="frames"/>.</param>
/// <param name="socket">The connection's own, if it has one and shares it with nobody.</param>
sealed class StreamSink(Stream stream, FrameStream frames, WebSocket webSocket, Socket? socket) : Sink
{
    public override int? Heard => frames.Reads;

    public override long? Acknowledged => socket is null ? null : Tcp.BytesAcknowledged(socket);

    public override ValueTask WriteAsync(ReadOnlyMemory<byte> frames) => stream.WriteAsync(frames);

    public override Task CloseAsync(WebSocketCloseStatus status, string? reason) =>
        webSocket.CloseOutputAsync(status, reason, CancellationToken.None);
}
