using System.Net.WebSockets;
using Broadcast.Middleware.Logs;

namespace Broadcast.Middleware.Delivery;

/// <summary>
/// Sends messages one by one through any <see cref="WebSocket"/>, for example the WebSocket of the <c>TestServer</c> of
/// ASP.NET Core.
/// </summary>
sealed class WebSocketSink(WebSocket webSocket) : Sink
{
    public override async ValueTask WriteAsync(ReadOnlyMemory<byte> frames)
    {
        while (!frames.IsEmpty)
        {
            if (Frame.Opcode(frames.Span) == Frame.Close)
            {
                var (status, reason) = Frame.ReadClose(frames.Span);
                await CloseAsync(status, reason).ConfigureAwait(false);
                return;
            }

            var payload = Frame.Next(ref frames, out var type);
            var webSocketType = type == MessageType.Text ? WebSocketMessageType.Text : WebSocketMessageType.Binary;
            await webSocket
                .SendAsync(payload, webSocketType, endOfMessage: true, CancellationToken.None)
                .ConfigureAwait(false);
        }
    }

    public override Task CloseAsync(WebSocketCloseStatus status, string? reason) =>
        webSocket.CloseOutputAsync(status, reason, CancellationToken.None);
}
