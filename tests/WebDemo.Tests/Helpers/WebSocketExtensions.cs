using System.Diagnostics;
using System.Net.WebSockets;
using System.Text;
using System.Text.Json;

namespace WebDemo.Tests;

/// <summary>Sends and receives whole messages on a client WebSocket.</summary>
static class WebSocketExtensions
{
    extension(ClientWebSocket socket)
    {
        public Task SendTextAsync(string text) =>
            socket.SendAsync(Encoding.UTF8.GetBytes(text), WebSocketMessageType.Text, endOfMessage: true, TestContext.Current.CancellationToken);

        public Task SendBinaryAsync(params byte[] bytes) =>
            socket.SendAsync(bytes, WebSocketMessageType.Binary, endOfMessage: true, TestContext.Current.CancellationToken);

        /// <summary>Receives the next message or close frame.</summary>
        public async Task<(WebSocketMessageType Type, byte[] Bytes)> ReceiveMessageAsync()
        {
            using var limit = CancellationTokenSource.CreateLinkedTokenSource(TestContext.Current.CancellationToken);
            limit.CancelAfter(TestLimits.Wait);
            var bytes = new MemoryStream();
            var buffer = new byte[16 * 1024];
            ValueWebSocketReceiveResult received;
            do
            {
                received = await socket.ReceiveAsync(buffer.AsMemory(), limit.Token);
                bytes.Write(buffer, 0, received.Count);
            }
            while (!received.EndOfMessage);
            return (received.MessageType, bytes.ToArray());
        }

        public async Task<string> ReceiveTextAsync()
        {
            var (type, bytes) = await socket.ReceiveMessageAsync();
            Assert.Equal(WebSocketMessageType.Text, type);
            return Encoding.UTF8.GetString(bytes);
        }

        public async Task<JsonElement> ReceiveJsonAsync() => JsonSerializer.Deserialize<JsonElement>(await socket.ReceiveTextAsync());

        /// <summary>Returns the next message that satisfies a condition, and skips the messages before it.</summary>
        public async Task<JsonElement> ReceiveUntilAsync(Func<JsonElement, bool> condition)
        {
            var watch = Stopwatch.StartNew();
            while (true)
            {
                var message = await socket.ReceiveJsonAsync();
                if (condition(message)) return message;
                Assert.True(watch.Elapsed < TestLimits.Wait, $"No message satisfies the condition. The last message is: {message}");
            }
        }

        /// <summary>
        /// Asserts that the next frame is a close frame with this code. Does not check the reason if the given reason
        /// is null.
        /// </summary>
        public async Task AssertClosedAsync(WebSocketCloseStatus code, string? reason = null)
        {
            Assert.Equal(WebSocketMessageType.Close, (await socket.ReceiveMessageAsync()).Type);
            Assert.Equal(code, socket.CloseStatus);
            if (reason is not null) Assert.Equal(reason, socket.CloseStatusDescription);
        }

        public Task CloseNormallyAsync() => socket.CloseAsync(WebSocketCloseStatus.NormalClosure, null, TestContext.Current.CancellationToken);
    }
}
