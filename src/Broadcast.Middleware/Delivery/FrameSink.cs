using System.Net.Sockets;
using System.Net.WebSockets;
using Broadcast.Middleware.Logs;
using Broadcast.Middleware.Transports;

namespace Broadcast.Middleware.Delivery;

/// <summary>
/// Sends frames without changes. One write can send many frames. <see cref="PipeSink"/> and <see cref="StreamSink"/>
/// differ only in the output.
/// </summary>
/// <param name="reader">Reads the frames of the client.</param>
/// <param name="socket">The TCP socket. Null if other connections share the socket or if the socket is unknown.</param>
abstract class FrameSink(MessageReader reader, Socket? socket) : Sink
{
    // The sink keeps the reader, because a delegate for this one number would cost memory for each connection.
    public override int? Received => reader.Reads;

    public override long? Acknowledged => socket is null ? null : TcpOptions.GetAcknowledgedBytes(socket);

    public override async Task CloseAsync(WebSocketCloseStatus status, string? reason) =>
        await WriteAsync(Frame.CreateClose(status, reason)).ConfigureAwait(false);
}
