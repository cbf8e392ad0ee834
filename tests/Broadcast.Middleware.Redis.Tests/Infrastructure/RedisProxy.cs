using System.Net;
using System.Net.Sockets;

namespace Broadcast.Middleware.Redis.Tests.Infrastructure;

/// <summary>
/// A TCP proxy in front of a Redis server. A test can reset its connections, refuse new connections, or discard data.
/// </summary>
sealed class RedisProxy : IAsyncDisposable
{
    readonly List<Socket> _sockets = [];
    readonly Lock _lock = new();
    readonly int _serverPort;
    Socket? _listener;
    volatile bool _discardsAnswers;
    volatile int _connectionCount;
    volatile int _silencedConnections;
    long _answerBytes;
    int _answerDelayMilliseconds;

    public RedisProxy(int serverPort)
    {
        _serverPort = serverPort;
        Open();
    }

    public int Port { get; } = TestPorts.Allocate();

    public string Configuration => $"127.0.0.1:{Port}";

    /// <summary>The number of connections that the proxy has disconnected.</summary>
    public int DisconnectedCount { get; private set; }

    /// <summary>The number of bytes that Redis has sent through the proxy.</summary>
    public long AnswerBytes => Interlocked.Read(ref _answerBytes);

    /// <summary>
    /// The delay of each piece of data from Redis. Each piece has at most 1,021 bytes and waits for the previous piece.
    /// So the delay also limits the bytes per second.
    /// </summary>
    public TimeSpan AnswerDelay
    {
        get => TimeSpan.FromMilliseconds(Volatile.Read(ref _answerDelayMilliseconds));
        set => Volatile.Write(ref _answerDelayMilliseconds, (int)value.TotalMilliseconds);
    }

    /// <summary>Accepts new connections.</summary>
    public void Open()
    {
        var listener = new Socket(AddressFamily.InterNetwork, SocketType.Stream, ProtocolType.Tcp);
        listener.SetSocketOption(SocketOptionLevel.Socket, SocketOptionName.ReuseAddress, true);
        listener.Bind(new IPEndPoint(IPAddress.Loopback, Port));
        listener.Listen();
        _listener = listener;
        _ = AcceptAsync(listener);
    }

    /// <summary>Resets all connections. Clients can connect again.</summary>
    public void Disconnect()
    {
        lock (_lock)
        {
            DisconnectedCount += _sockets.Count / 2;
            foreach (var socket in _sockets)
            {
                socket.LingerState = new(true, 0);
                socket.Dispose();
            }

            _sockets.Clear();
        }

        _discardsAnswers = false;
    }

    /// <summary>Resets all connections. Clients cannot connect before <see cref="Open"/>.</summary>
    public void Close()
    {
        _listener?.Dispose();
        Disconnect();
    }

    /// <summary>Discards the data from Redis until <see cref="Disconnect"/>.</summary>
    public void DiscardAnswers() => _discardsAnswers = true;

    /// <summary>
    /// Discards all data of the existing connections in both directions and keeps these connections open. New
    /// connections relay their data.
    /// </summary>
    public void Silence() => _silencedConnections = _connectionCount;

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
                    await server.ConnectAsync(IPAddress.Loopback, _serverPort);
                }
                catch (SocketException)
                {
                    client.Dispose();
                    continue;
                }

                client.NoDelay = server.NoDelay = true;
                lock (_lock) _sockets.AddRange([client, server]);
                var number = ++_connectionCount;
                _ = CopyAsync(client, server, number, isAnswer: false);
                _ = CopyAsync(server, client, number, isAnswer: true);
            }
        }
        catch (Exception exception) when (exception is SocketException or ObjectDisposedException)
        {
            // The proxy has closed its listener.
        }
    }

    async Task CopyAsync(Socket source, Socket destination, int number, bool isAnswer)
    {
        // The buffer is small, so that a disconnect can split a command or an answer.
        var buffer = new byte[1021];
        try
        {
            while (await source.ReceiveAsync(buffer) is > 0 and var count)
            {
                if ((isAnswer && _discardsAnswers) || number <= _silencedConnections) continue;
                if (isAnswer)
                {
                    Interlocked.Add(ref _answerBytes, count);
                    if (AnswerDelay > TimeSpan.Zero) await Task.Delay(AnswerDelay);
                }

                for (var sent = 0; sent < count;)
                    sent += await destination.SendAsync(buffer.AsMemory(sent, count - sent));
            }
        }
        catch (Exception exception) when (exception is SocketException or ObjectDisposedException)
        {
            // The connection is closed.
        }

        lock (_lock)
        {
            _sockets.Remove(source);
            _sockets.Remove(destination);
        }

        source.Dispose();
        destination.Dispose();
    }
}
