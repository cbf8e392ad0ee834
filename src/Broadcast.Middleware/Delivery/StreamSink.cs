using System.Net.Sockets;
using System.Net.WebSockets;
using Broadcast.Middleware.Transports;

namespace Broadcast.Middleware.Delivery;

/// <summary>
/// Writes frames to the stream of an upgraded request, exactly as the log contains them. One write can send many
/// frames.
/// </summary>
/// <param name="stream">The upgraded stream.</param>
/// <param name="frameStream">The stream between <paramref name="stream"/> and the WebSocket.</param>
/// <param name="webSocket">
/// The framework's WebSocket. The WebSocket sends the close frame through <paramref name="frameStream"/>.
/// </param>
/// <param name="socket">The TCP socket. Null if other connections share the socket or if the socket is unknown.</param>
sealed class StreamSink(Stream stream, FrameStream frameStream, WebSocket webSocket, Socket? socket) : Sink
{
    public override int? Received => frameStream.Reads;

    public override long? Acknowledged => socket is null ? null : TcpOptions.GetAcknowledgedBytes(socket);

    public override ValueTask WriteAsync(ReadOnlyMemory<byte> frames) => stream.WriteAsync(frames);

    public override Task CloseAsync(WebSocketCloseStatus status, string? reason) =>
        webSocket.CloseOutputAsync(status, reason, CancellationToken.None);
}
