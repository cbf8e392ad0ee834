using System.Net;
using System.Net.Sockets;

namespace WebDemo.Tests;

/// <summary>Relays TCP connections from a loopback port to a server. A test can reset connections and refuse new ones.</summary>
/// <param name="server">The server.</param>
/// <param name="chunkBytes">The maximum number of bytes that the proxy relays at once.</param>
class TcpProxy(Uri server, int chunkBytes = 4096) : IAsyncDisposable
{
    readonly ReservedPort _port = new();
    readonly List<ProxyConnection> _connections = [];
    Socket? _listener;
    Task _accepting = Task.CompletedTask;

    public Uri Url => new($"http://127.0.0.1:{_port.Number}");

    /// <summary>Starts to accept connections. Each start uses the same port.</summary>
    public void Start()
    {
        _listener = new Socket(AddressFamily.InterNetwork, SocketType.Stream, ProtocolType.Tcp);
        _listener.SetSocketOption(SocketOptionLevel.Socket, SocketOptionName.ReuseAddress, true);
        _listener.Bind(new IPEndPoint(IPAddress.Loopback, _port.Number));
        _listener.Listen();
        _accepting = AcceptAsync(_listener);
    }

    /// <summary>Refuses new connections and resets all open connections. Returns the number of reset connections.</summary>
    public int Stop()
    {
        _listener?.Dispose();
        return ResetConnections();
    }

    /// <summary>Resets all open connections. Returns the number of reset connections.</summary>
    public int ResetConnections() => ResetConnections(static _ => true);

    public async ValueTask DisposeAsync()
    {
        _listener?.Dispose();
        await _accepting;
        ResetConnections();
        _port.Dispose();
        GC.SuppressFinalize(this);
    }

    /// <summary>Resets the open connections that match. Returns the number of reset connections.</summary>
    protected int ResetConnections(Func<ProxyConnection, bool> predicate)
    {
        var matches = GetConnections().Where(predicate).ToArray();
        foreach (var connection in matches) connection.Reset();
        return matches.Length;
    }

    protected ProxyConnection[] GetConnections()
    {
        lock (_connections) return [.. _connections];
    }

    /// <summary>Connects to the server. Returns null if no server accepts the connection.</summary>
    protected virtual Task<Socket?> ConnectToServerAsync() => ConnectAsync(server.Port);

    protected virtual ProxyConnection CreateConnection(Socket client, Socket server) => new(client, server, chunkBytes);

    protected static async Task<Socket?> ConnectAsync(int port, int? receiveBufferBytes = null)
    {
        var socket = new Socket(AddressFamily.InterNetwork, SocketType.Stream, ProtocolType.Tcp) { NoDelay = true };
        // The system applies the buffer size only if it is set before the connect.
        if (receiveBufferBytes is { } bytes) socket.ReceiveBufferSize = bytes;
        try
        {
            await socket.ConnectAsync(IPAddress.Loopback, port);
            return socket;
        }
        catch (SocketException)
        {
            socket.Dispose();
            return null;
        }
    }

    async Task AcceptAsync(Socket listener)
    {
        try
        {
            while (true)
            {
                var client = await listener.AcceptAsync();
                client.NoDelay = true;
                if (await ConnectToServerAsync() is { } toServer) _ = RelayAsync(CreateConnection(client, toServer));
                else client.Dispose();
            }
        }
        catch (Exception exception) when (exception is SocketException or ObjectDisposedException)
        {
            // The proxy has stopped.
        }
    }

    async Task RelayAsync(ProxyConnection connection)
    {
        lock (_connections) _connections.Add(connection);
        await connection.RelayAsync();
        lock (_connections) _connections.Remove(connection);
    }
}
