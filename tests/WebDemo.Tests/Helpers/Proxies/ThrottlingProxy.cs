using System.Net.Sockets;

namespace WebDemo.Tests;

/// <summary>A proxy with a limited download rate. Its small buffers keep most unsent data in the server.</summary>
sealed class ThrottlingProxy(Uri server) : TcpProxy(server, BufferBytes)
{
    const int BufferBytes = 4096;

    readonly int _serverPort = server.Port;

    /// <summary>The download rate of each connection. A test may change the rate at any time.</summary>
    public int BytesPerSecond { get; set; } = int.MaxValue;

    protected override Task<Socket?> ConnectToServerAsync() => ConnectAsync(_serverPort, receiveBufferBytes: BufferBytes);

    protected override ProxyConnection CreateConnection(Socket client, Socket server)
    {
        client.SendBufferSize = BufferBytes;
        return new Connection(this, client, server);
    }

    sealed class Connection(ThrottlingProxy proxy, Socket client, Socket server) : ProxyConnection(client, server, BufferBytes)
    {
        // The proxy needs at most a tenth of a second for one chunk.
        protected override int GetChunkBytes(int bufferBytes, bool isRequest) =>
            isRequest ? bufferBytes : Math.Min(proxy.BytesPerSecond / 10, bufferBytes);

        protected override async Task ForwardAsync(ReadOnlyMemory<byte> bytes, Socket to, bool isRequest)
        {
            await SendAllAsync(bytes, to);
            if (!isRequest && proxy.BytesPerSecond < int.MaxValue) await Task.Delay(TimeSpan.FromSeconds((double)bytes.Length / proxy.BytesPerSecond));
        }
    }
}
