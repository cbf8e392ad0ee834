using System.Net.WebSockets;
using System.Text;

namespace Broadcast.Middleware.Tests;

/// <summary>A client and the connection it has become: one of a user's devices.</summary>
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

    /// <summary>The next message, which must be text.</summary>
    public async Task<string> HearAsync()
    {
        var (bytes, type) = await ReceiveAsync();
        Assert.Equal(WebSocketMessageType.Text, type);
        return Encoding.UTF8.GetString(bytes);
    }

    /// <summary>The next message, fragments together; a close frame fails the test.</summary>
    public async Task<(byte[] Bytes, WebSocketMessageType Type)> ReceiveAsync()
    {
        var (length, result) = await ReceiveToEndAsync();
        Assert.True(result.MessageType != WebSocketMessageType.Close, $"Closed with {socket.CloseStatus}: {socket.CloseStatusDescription}");
        return (_buffer[..length], result.MessageType);
    }

    /// <summary>The close frame, which must be next; it is answered.</summary>
    public async Task<(int Status, string? Reason)> HearCloseAsync()
    {
        var (length, result) = await ReceiveToEndAsync();
        Assert.True(result.MessageType == WebSocketMessageType.Close, $"Heard a message in place of a close frame: {Encoding.UTF8.GetString(_buffer, 0, length)}");
        if (socket.State == WebSocketState.CloseReceived) await CloseAsync();
        return ((int)socket.CloseStatus!, socket.CloseStatusDescription);
    }

    public Task CloseAsync(WebSocketCloseStatus status = WebSocketCloseStatus.NormalClosure, string? reason = "bye") =>
        socket.CloseOutputAsync(status, reason, TestContext.Current.CancellationToken);

    /// <summary>Waits until everything is begun that the connection's pump was told to do.</summary>
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
