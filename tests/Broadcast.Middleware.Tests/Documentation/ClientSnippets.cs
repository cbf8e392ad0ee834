using System.Buffers;
using System.Net.WebSockets;
using System.Text;

namespace Broadcast.Middleware.Tests.Documentation;

/// <summary>Receives messages, and connects again after each disconnect. Contains code of docs/guides/clients.md.</summary>
static class DocumentedListener
{
    static async Task ListenAsync(Uri url, Func<string, Task> onMessage, CancellationToken cancellationToken)
    {
        for (var attempt = 0; !cancellationToken.IsCancellationRequested; attempt++)
        {
            using var socket = new ClientWebSocket { Options = { KeepAliveInterval = TimeSpan.FromSeconds(15), KeepAliveTimeout = TimeSpan.FromSeconds(20) } };
            try
            {
                await socket.ConnectAsync(url, cancellationToken);
                attempt = 0;
                while (await ReceiveAsync(socket, cancellationToken) is { } text) await onMessage(text);
                if (socket.CloseStatus is WebSocketCloseStatus.NormalClosure or WebSocketCloseStatus.PolicyViolation) return;
            }
            catch (Exception exception) when (exception is WebSocketException || (exception is OperationCanceledException && !cancellationToken.IsCancellationRequested))
            {
                // The network or the server is down. After KeepAliveTimeout, ReceiveAsync throws an OperationCanceledException.
            }

            var delay = Math.Min(30, Math.Pow(2, attempt)) * (0.5 + (Random.Shared.NextDouble() / 2));
            await Task.Delay(TimeSpan.FromSeconds(delay), cancellationToken);
        }
    }

    static async Task<string?> ReceiveAsync(WebSocket socket, CancellationToken cancellationToken)
    {
        var message = new ArrayBufferWriter<byte>();
        while (true)
        {
            var part = await socket.ReceiveAsync(message.GetMemory(4096), cancellationToken);
            if (part.MessageType == WebSocketMessageType.Close) return null;
            message.Advance(part.Count);
            if (part.EndOfMessage) return Encoding.UTF8.GetString(message.WrittenSpan);
        }
    }

    public static Task RunAsync(Uri url, Func<string, Task> onMessage, CancellationToken cancellationToken) =>
        ListenAsync(url, onMessage, cancellationToken);
}
