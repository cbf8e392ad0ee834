using System.Net.Sockets;

namespace WebDemo.Tests;

/// <summary>One connection through a <see cref="TcpProxy"/>: a socket to the client and a socket to the server.</summary>
class ProxyConnection(Socket client, Socket server, int chunkBytes)
{
    protected Socket Client => client;

    protected Socket Server => server;

    /// <summary>Relays both directions until both have ended. The end of one direction does not end the other direction.</summary>
    public virtual async Task RelayAsync()
    {
        await Task.WhenAll(RelayAsync(client, server, isRequest: true), RelayAsync(server, client, isRequest: false));
        client.Dispose();
        server.Dispose();
    }

    /// <summary>Resets both sockets. Data in transit is lost.</summary>
    public void Reset()
    {
        Reset(client);
        Reset(server);
    }

    protected static void Reset(Socket socket)
    {
        try
        {
            // A close with a linger time of zero sends a TCP reset.
            socket.LingerState = new LingerOption(true, 0);
        }
        catch (Exception exception) when (exception is SocketException or ObjectDisposedException)
        {
            // The socket is already closed.
        }

        socket.Dispose();
    }

    /// <summary>Relays one direction until its end or an error. An error resets the connection.</summary>
    protected async Task RelayAsync(Socket from, Socket to, bool isRequest)
    {
        var buffer = new byte[chunkBytes];
        try
        {
            while (await from.ReceiveAsync(buffer.AsMemory(0, GetChunkBytes(buffer.Length, isRequest))) is > 0 and var count)
                await ForwardAsync(buffer.AsMemory(0, count), to, isRequest);
            OnEnd(to);
        }
        catch (Exception exception) when (exception is SocketException or ObjectDisposedException)
        {
            OnError();
        }
    }

    protected virtual int GetChunkBytes(int bufferBytes, bool isRequest) => bufferBytes;

    protected virtual Task ForwardAsync(ReadOnlyMemory<byte> bytes, Socket to, bool isRequest) => SendAllAsync(bytes, to);

    protected virtual void OnEnd(Socket to) => to.Shutdown(SocketShutdown.Send);

    protected virtual void OnError() => Reset();

    protected static async Task SendAllAsync(ReadOnlyMemory<byte> bytes, Socket to)
    {
        for (var sent = 0; sent < bytes.Length;) sent += await to.SendAsync(bytes[sent..]);
    }
}
