using System.Net.WebSockets;

namespace Broadcast.Middleware;

/// <summary>Sends through any <see cref="WebSocket"/>, message by message: for servers that bring their own, such as test servers.</summary>
sealed class WebSocketSink(WebSocket webSocket) : Sink
{
    public override async ValueTask WriteAsync(ReadOnlyMemory<byte> frames)
    {
        while (!frames.IsEmpty)
        {
            var payload = Frame.Next(ref frames, out var type);
            var webSocketType = type == MessageType.Text ? WebSocketMessageType.Text : WebSocketMessageType.Binary;
            await webSocket.SendAsync(payload, webSocketType, endOfMessage: true, CancellationToken.None).ConfigureAwait(false);
        }
    }

    public override Task CloseAsync(WebSocketCloseStatus status, string? reason) =>
        webSocket.CloseOutputAsync(status, reason, CancellationToken.None);
}
