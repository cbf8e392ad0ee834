using System.Net;
using System.Net.Sockets;

namespace Broadcast.Middleware.Redis.Tests;

/// <summary>A port that leads to Redis. It can be cut, so that whoever is connected is reset; closed, so that nobody can connect; and made to swallow what is said.</summary>
sealed class Line : IAsyncDisposable
{
    readonly List<Socket> _sockets = [];
    readonly Lock _gate = new();
    readonly int _to;
    Socket? _listener;
    volatile bool _dropsAnswers;
    volatile int _connections;
    volatile int _swallowed;

    public Line(int to)
    {
        _to = to;
        Open();
    }

    public int Port { get; private set; }

    public string Configuration => $"127.0.0.1:{Port}";

    /// <summary>How many connections have been cut.</summary>
    public int Cuts { get; private set; }

    public void Open()
    {
        var listener = new Socket(AddressFamily.InterNetwork, SocketType.Stream, ProtocolType.Tcp);
        listener.SetSocketOption(SocketOptionLevel.Socket, SocketOptionName.ReuseAddress, true);
        listener.Bind(new IPEndPoint(IPAddress.Loopback, Port));
        listener.Listen();
        Port = ((IPEndPoint)listener.LocalEndPoint!).Port;
        _listener = listener;
        _ = AcceptAsync(listener);
    }

    /// <summary>Whoever is connected is reset, and can connect again.</summary>
    public void Cut()
    {
        lock (_gate)
        {
            Cuts += _sockets.Count / 2;
            foreach (var socket in _sockets)
            {
                socket.LingerState = new(true, 0);
                socket.Dispose();
            }

            _sockets.Clear();
        }

        _dropsAnswers = false;
    }

    /// <summary>And nobody can connect until it is opened.</summary>
    public void Close()
    {
        _listener?.Dispose();
        Cut();
    }

    /// <summary>What Redis says is not heard any more, until the line is cut.</summary>
    public void DropAnswers() => _dropsAnswers = true;

    /// <summary>Nothing comes through any more on the connections that there are, in either direction, and nobody is told. New ones work.</summary>
    public void Swallow() => _swallowed = _connections;

    public ValueTask DisposeAsync()
    {
        Close();
        return default;
    }

    async Task AcceptAsync(Socket listener)
    {
        try
        {
            while (true)
            {
                var client = await listener.AcceptAsync();
                var server = new Socket(AddressFamily.InterNetwork, SocketType.Stream, ProtocolType.Tcp);
                try
                {
                    await server.ConnectAsync(IPAddress.Loopback, _to);
                }
                catch (SocketException)
                {
                    client.Dispose();
                    continue;
                }

                client.NoDelay = server.NoDelay = true;
                lock (_gate) _sockets.AddRange([client, server]);
                var number = ++_connections;
                _ = PumpAsync(client, server, number, isAnswers: false);
                _ = PumpAsync(server, client, number, isAnswers: true);
            }
        }
        catch (Exception exception) when (exception is SocketException or ObjectDisposedException)
        {
            // Closed.
        }
    }

    async Task PumpAsync(Socket from, Socket to, int number, bool isAnswers)
    {
        // Small enough for a cut to fall into the middle of something.
        var buffer = new byte[1021];
        try
        {
            while (await from.ReceiveAsync(buffer) is > 0 and var count)
            {
                if ((isAnswers && _dropsAnswers) || number <= _swallowed) continue;
                for (var sent = 0; sent < count;) sent += await to.SendAsync(buffer.AsMemory(sent, count - sent));
            }
        }
        catch (Exception exception) when (exception is SocketException or ObjectDisposedException)
        {
            // Cut.
        }

        lock (_gate)
        {
            _sockets.Remove(from);
            _sockets.Remove(to);
        }

        from.Dispose();
        to.Dispose();
    }
}
