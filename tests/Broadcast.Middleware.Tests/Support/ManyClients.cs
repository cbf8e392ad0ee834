using System.Buffers.Binary;
using System.Diagnostics;
using System.Net;
using System.Net.Sockets;
using System.Text;

namespace Broadcast.Middleware.Tests.Support;

/// <summary>Many clients that use little memory. Each client has one socket, and has a small buffer only while it waits.</summary>
sealed class ManyClients : IAsyncDisposable
{
    static readonly byte[] Handshake = Encoding.ASCII.GetBytes(
        "GET /ws HTTP/1.1\r\nHost: localhost\r\nConnection: Upgrade\r\nUpgrade: websocket\r\nSec-WebSocket-Version: 13\r\n" +
        $"Sec-WebSocket-Key: {RawClient.Key}\r\n\r\n");

    readonly Socket[] _sockets;

    ManyClients(Socket[] sockets) => _sockets = sockets;

    /// <param name="Code">The close code.</param>
    /// <param name="At">The time of arrival, as a stopwatch timestamp.</param>
    public readonly record struct ReceivedClose(int Code, long At);

    /// <summary>Connects all clients and waits until they are members of their group.</summary>
    public static async Task<ManyClients> OpenAsync(BroadcastApp app, int count)
    {
        var before = app.Registry.CountGroupMembers("/ws");
        var sockets = new Socket[count];
        var next = -1;
        await Task.WhenAll(Enumerable.Range(0, 32).Select(async _ =>
        {
            var answer = new byte[512];
            while (Interlocked.Increment(ref next) is var index && index < count) sockets[index] = await OpenAsync(app, answer);
        }));
        await app.Registry.OpenedAsync("/ws", before + count);
        return new(sockets);
    }

    /// <summary>
    /// The first <paramref name="count"/> clients each read and answer a close frame, and wait until the server closes
    /// the socket.
    /// </summary>
    public async Task<IReadOnlyCollection<ReceivedClose>> AnswerCloseFramesAsync(int count) =>
        await Task.WhenAll(_sockets.Take(count).Select(AnswerCloseFrameAsync));

    /// <summary>Resets all sockets at once, without a close frame.</summary>
    public void Reset()
    {
        foreach (var socket in _sockets)
        {
            socket.LingerState = new LingerOption(true, 0);
            socket.Dispose();
        }
    }

    public ValueTask DisposeAsync()
    {
        foreach (var socket in _sockets) socket.Dispose();
        return default;
    }

    static async Task<Socket> OpenAsync(BroadcastApp app, byte[] answer)
    {
        var token = TestContext.Current.CancellationToken;
        var socket = new Socket(AddressFamily.InterNetwork, SocketType.Stream, ProtocolType.Tcp) { ReceiveBufferSize = Stall.SmallWindow };
        await socket.ConnectAsync(IPAddress.Loopback, app.Port, token);
        await socket.SendAsync(Handshake, token);
        var length = 0;
        while (!answer.AsSpan(0, length).EndsWith("\r\n\r\n"u8)) length += await ReceiveAsync(socket, answer.AsMemory(length));
        Assert.StartsWith("HTTP/1.1 101", Encoding.ASCII.GetString(answer, 0, length), StringComparison.Ordinal);
        return socket;
    }

    static async Task<ReceivedClose> AnswerCloseFrameAsync(Socket socket)
    {
        var buffer = new byte[128];
        var length = 0;
        while (length < 2 || length < 2 + buffer[1]) length += await ReceiveAsync(socket, buffer.AsMemory(length));
        var at = Stopwatch.GetTimestamp();
        Assert.Equal(0x80 | ClientFrame.Close, buffer[0]);
        var code = BinaryPrimitives.ReadUInt16BigEndian(buffer.AsSpan(2));
        await socket.SendAsync(ClientFrame.CreateClose(code), TestContext.Current.CancellationToken);
        Assert.Equal(0, await TakeAsync(socket, buffer));
        socket.Dispose();
        return new(code, at);
    }

    static async Task<int> ReceiveAsync(Socket socket, Memory<byte> buffer)
    {
        var received = await TakeAsync(socket, buffer);
        Assert.True(received > 0, "The server has closed the socket.");
        return received;
    }

    static Task<int> TakeAsync(Socket socket, Memory<byte> buffer) =>
        socket.ReceiveAsync(buffer, TestContext.Current.CancellationToken).AsTask().WaitAsync(Eventually.Patience, TestContext.Current.CancellationToken);
}
