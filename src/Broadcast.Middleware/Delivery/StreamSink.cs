using System.Net.Sockets;

namespace Broadcast.Middleware.Delivery;

/// <summary>Sends frames through the stream of an upgraded request, or through its TLS stream.</summary>
/// <param name="stream">The stream.</param>
/// <param name="reader">Reads the frames of the client.</param>
/// <param name="socket">The TCP socket. Null if other connections share the socket or if the socket is unknown.</param>
sealed class StreamSink(Stream stream, MessageReader reader, Socket? socket) : FrameSink(reader, socket)
{
    public override ValueTask WriteAsync(ReadOnlyMemory<byte> frames) => stream.WriteAsync(frames);
}
