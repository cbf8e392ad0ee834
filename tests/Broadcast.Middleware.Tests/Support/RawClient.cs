using System.Net.Sockets;

namespace Broadcast.Middleware.Tests.Support;

/// <summary>
/// A WebSocket client without a WebSocket library, on a socket or on a stream. The client can violate each rule of the
/// protocol and can read every byte.
/// </summary>
sealed class RawClient(Stream stream, Socket? socket = null)
    : WebSocketWire(stream, Eventually.Patience, TestContext.Current.CancellationToken)
{
    /// <summary>Connects without a handshake.</summary>
    public static async Task<RawClient> ConnectAsync(BroadcastApp app, int? receiveBuffer = null)
    {
        var socket = await app.ConnectSocketAsync(receiveBuffer);
        return new(new NetworkStream(socket, ownsSocket: true), socket);
    }

    /// <summary>Connects. The client has joined its group when the task completes.</summary>
    public static async Task<RawClient> OpenAsync(BroadcastApp app, string path = "/ws", int? receiveBuffer = null)
    {
        var client = await ConnectAsync(app, receiveBuffer);
        Assert.Equal(101, (await client.HandshakeAsync(path)).Status);
        await client.JoinedAsync();
        return client;
    }

    /// <summary>Connects with these headers. The client has joined its group when the task completes.</summary>
    public static async Task<RawClient> OpenAsync(BroadcastApp app, params (string Name, string? Value)[] headers)
    {
        var client = await ConnectAsync(app);
        Assert.Equal(101, (await client.HandshakeAsync("/ws", headers)).Status);
        await client.JoinedAsync();
        return client;
    }

    /// <summary>Returns the answer to a handshake and closes the connection.</summary>
    public static async Task<HttpAnswer> TryAsync(BroadcastApp app, params (string Name, string? Value)[] headers)
    {
        await using var client = await ConnectAsync(app);
        return await client.HandshakeAsync("/ws", headers);
    }

    /// <summary>
    /// Waits until the connection has joined its group. The server reads data only after the join, so a pong proves the join.
    /// </summary>
    public async Task JoinedAsync()
    {
        await SendAsync(ClientFrame.Make(ClientFrame.Ping, "joined?"u8));
        Assert.Equal(ClientFrame.Pong, (await ReadFrameAsync()).Opcode);
    }

    /// <summary>
    /// Asserts that the connection is open. The pong uses the normal send path, so the pong follows all earlier
    /// messages to this connection.
    /// </summary>
    public Task AssertOpenAsync() => JoinedAsync();

    /// <summary>Reads up to the close frame and skips all other frames.</summary>
    public async Task<ServerFrame> ReadCloseAsync()
    {
        while (true)
        {
            if (await ReadFrameAsync() is { Opcode: ClientFrame.Close } close) return close;
        }
    }

    /// <summary>Exchanges close frames with the server and waits for the end of the socket.</summary>
    public async Task LeaveAsync()
    {
        await SendAsync(ClientFrame.CreateClose(1000));
        await ReadCloseAsync();
        await ReadEndAsync();
    }

    /// <summary>Reads and answers the server's close frame, waits for the end of the socket, and returns the close code.</summary>
    public async Task<int?> ClosedWithAsync()
    {
        var close = await ReadCloseAsync();
        await SendAsync(ClientFrame.CreateClose(close.CloseCode ?? 1000));
        await ReadEndAsync();
        return close.CloseCode;
    }

    /// <summary>Disconnects with a reset.</summary>
    public void Reset() => socket!.Reset();

    /// <summary>Sends a FIN and continues to read.</summary>
    public void Finish() => socket!.Shutdown(SocketShutdown.Send);

    protected override byte[] Decompress(byte[] payload) => Deflate.Decompress(payload);
}
