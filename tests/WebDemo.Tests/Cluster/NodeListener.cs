using System.Net.WebSockets;
using System.Text.Json;

namespace WebDemo.Tests;

/// <summary>Reads the stream from one node over a plain WebSocket, until the end of the stream or a close frame.</summary>
/// <remarks>
/// When one node stops, the listeners of the other nodes continue. At any time, at least one listener receives every
/// message.
/// </remarks>
sealed class NodeListener : IDisposable
{
    readonly ClientWebSocket _socket;
    readonly TaskCompletionSource _joined = new(TaskCreationOptions.RunContinuationsAsynchronously);

    NodeListener(ClientWebSocket socket)
    {
        _socket = socket;
        Completed = ReadAsync();
    }

    public List<string> Messages { get; } = [];

    /// <summary>Completes with the close code of the node, or with null after the end of the stream.</summary>
    public Task<WebSocketCloseStatus?> Completed { get; }

    public static async Task<NodeListener> JoinAsync(DemoServer node)
    {
        var socket = await node.ConnectAsync("/ws", "json.webpubsub.azure.v1");
        await socket.SendTextAsync($$"""{"type":"joinGroup","group":"{{MessageStream.Group}}","ackId":1}""");
        var listener = new NodeListener(socket);
        await listener._joined.Task.WaitAsync(TestLimits.Wait, TestContext.Current.CancellationToken);
        return listener;
    }

    public void Dispose() => _socket.Dispose();

    async Task<WebSocketCloseStatus?> ReadAsync()
    {
        while (true)
        {
            var (type, bytes) = await _socket.ReceiveMessageAsync();
            if (type == WebSocketMessageType.Close)
            {
                await _socket.CloseOutputAsync(_socket.CloseStatus!.Value, null, TestContext.Current.CancellationToken);
                return _socket.CloseStatus;
            }

            var message = JsonSerializer.Deserialize<JsonElement>(bytes);
            if (message.GetProperty("type").GetString() == "ack") _joined.TrySetResult();
            if (!message.TryGetProperty("data", out var data)) continue;
            Messages.Add(data.GetString()!);
            if (data.GetString() == MessageStream.End) return null;
        }
    }
}
