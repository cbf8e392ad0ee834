using System.Net;
using System.Net.Sockets;

namespace WebDemo.Tests;

/// <summary>A port that leads to another, and can be cut: whoever is connected is reset, and for a while nobody can connect.</summary>
sealed class UnsteadyLine(int to) : IDisposable
{
    readonly List<Socket> _sockets = [];
    Socket? _listener;

    public int Port { get; private set; }

    /// <summary>On the same port as before, if there was one.</summary>
    public void Open()
    {
        _listener = new Socket(AddressFamily.InterNetwork, SocketType.Stream, ProtocolType.Tcp);
        _listener.SetSocketOption(SocketOptionLevel.Socket, SocketOptionName.ReuseAddress, true);
        _listener.Bind(new IPEndPoint(IPAddress.Loopback, Port));
        _listener.Listen();
        Port = ((IPEndPoint)_listener.LocalEndPoint!).Port;
        _ = AcceptAsync(_listener);
    }

    /// <summary>Returns how many connections that ended.</summary>
    public int Cut()
    {
        _listener?.Dispose();
        lock (_sockets)
        {
            var count = _sockets.Count;
            foreach (var socket in _sockets)
            {
                socket.LingerState = new LingerOption(true, 0);
                socket.Dispose();
            }

            _sockets.Clear();
            return count / 2;
        }
    }

    public void Dispose() => Cut();

    async Task AcceptAsync(Socket listener)
    {
        try
        {
            while (true)
            {
                var client = await listener.AcceptAsync();
                var server = new Socket(AddressFamily.InterNetwork, SocketType.Stream, ProtocolType.Tcp);
                await server.ConnectAsync(IPAddress.Loopback, to);
                lock (_sockets) _sockets.AddRange([client, server]);
                _ = PumpAsync(client, server);
                _ = PumpAsync(server, client);
            }
        }
        catch (Exception exception) when (exception is SocketException or ObjectDisposedException)
        {
            // Cut.
        }
    }

    /// <summary>In small pieces, so that a cut falls into the middle of what is sent.</summary>
    async Task PumpAsync(Socket from, Socket to)
    {
        var buffer = new byte[41];
        try
        {
            while (await from.ReceiveAsync(buffer) is > 0 and var count)
            {
                for (var sent = 0; sent < count;) sent += await to.SendAsync(buffer.AsMemory(sent, count - sent));
            }
        }
        catch (Exception exception) when (exception is SocketException or ObjectDisposedException)
        {
            // Cut.
        }

        lock (_sockets)
        {
            if (!_sockets.Remove(from) | !_sockets.Remove(to)) return;
        }

        from.Dispose();
        to.Dispose();
    }
}
