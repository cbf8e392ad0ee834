using System.Net.WebSockets;
using System.Text;

namespace Broadcast.Middleware.Tests.Support;

/// <summary>A client and its connection on the server. Each object stands for one device of a user.</summary>
sealed class Device(WebSocket socket, IBroadcastConnection connection) : IDisposable
{
    static readonly TimeSpan Patience = Eventually.Patience;

    readonly byte[] _buffer = new byte[256 * 1024];

    public WebSocket Socket => socket;

    public IBroadcastConnection Connection => connection;

    public string Id => connection.Id;

    public Task SendAsync(string text) => SendAsync(Encoding.UTF8.GetBytes(text), WebSocketMessageType.Text);

    public Task SendAsync(byte[] bytes, WebSocketMessageType type, bool end = true) =>
        socket.SendAsync(bytes, type, end, TestContext.Current.CancellationToken);

    /// <summary>Returns the next message. Fails if the message is not text.</summary>
    public async Task<string> ReceiveTextAsync()
    {
        var (bytes, type) = await ReceiveAsync();
        Assert.Equal(WebSocketMessageType.Text, type);
        return Encoding.UTF8.GetString(bytes);
    }

    /// <summary>Returns the next message with its fragments joined. Fails on a close frame.</summary>
    public async Task<(byte[] Bytes, WebSocketMessageType Type)> ReceiveAsync()
    {
        var (length, result) = await ReceiveToEndAsync();
        Assert.True(result.MessageType != WebSocketMessageType.Close, $"Closed with {socket.CloseStatus}: {socket.CloseStatusDescription}");
        return (_buffer[..length], result.MessageType);
    }

    /// <summary>Reads and answers a close frame. Fails if the next frame is not a close frame.</summary>
    public async Task<(int Status, string? Reason)> ReceiveCloseAsync()
    {
        var (length, result) = await ReceiveToEndAsync();
        Assert.True(result.MessageType == WebSocketMessageType.Close, $"Received a message instead of a close frame: {Encoding.UTF8.GetString(_buffer, 0, length)}");
        if (socket.State == WebSocketState.CloseReceived) await CloseAsync();
        return ((int)socket.CloseStatus!, socket.CloseStatusDescription);
    }

    public Task CloseAsync(WebSocketCloseStatus status = WebSocketCloseStatus.NormalClosure, string? reason = "bye") =>
        socket.CloseOutputAsync(status, reason, TestContext.Current.CancellationToken);

    /// <summary>Waits until the connection's pump has run the work that was queued before this call.</summary>
    public Task SettleAsync() => PumpBarrier.PassAsync(((Connection)connection).Writer.Pump);

    public void Dispose() => socket.Dispose();

    async Task<(int Length, ValueWebSocketReceiveResult Result)> ReceiveToEndAsync()
    {
        using var impatient = CancellationTokenSource.CreateLinkedTokenSource(TestContext.Current.CancellationToken);
        impatient.CancelAfter(Patience);
        for (var length = 0;;)
        {
            var result = await socket.ReceiveAsync(_buffer.AsMemory(length), impatient.Token);
            length += result.Count;
            if (result.EndOfMessage || result.MessageType == WebSocketMessageType.Close) return (length, result);
        }
    }
}
