using System.Net;
using System.Net.Sockets;
using System.Text;

namespace WebDemo.Tests;

/// <summary>A port that leads to several demos: each connection to the next of those that take it.</summary>
sealed class Balancer : IAsyncDisposable
{
    readonly TcpListener _listener = new(IPAddress.Loopback, 0);
    readonly List<Line> _lines = [];
    readonly int[] _to;
    readonly Task _accepting;
    int _next;
    int _reconnections;
    int _recoveries;

    public Balancer(IEnumerable<Uri> servers)
    {
        _to = [.. servers.Select(static server => server.Port)];
        _listener.Start();
        _accepting = AcceptAsync();
    }

    public Uri Url => new($"http://{_listener.LocalEndpoint}");

    /// <summary>How many connections wanted to go on where another had ended.</summary>
    public int Reconnections => Volatile.Read(ref _reconnections);

    /// <summary>How many of them could.</summary>
    public int Recoveries => Volatile.Read(ref _recoveries);

    /// <summary>Resets the connections to a server whose URL has this query. Returns how many.</summary>
    public int Cut(Uri server, string query)
    {
        Line[] cut;
        lock (_lines) cut = [.. _lines.Where(line => line.To == server.Port && line.Url.Contains(query, StringComparison.Ordinal))];
        foreach (var line in cut) line.Reset();
        return cut.Length;
    }

    public async ValueTask DisposeAsync()
    {
        _listener.Dispose();
        await _accepting;
        Line[] left;
        lock (_lines) left = [.. _lines];
        foreach (var line in left) line.Reset();
    }

    async Task AcceptAsync()
    {
        try
        {
            while (true) _ = CarryAsync(await _listener.AcceptSocketAsync());
        }
        catch (Exception exception) when (exception is SocketException or ObjectDisposedException)
        {
            // The end.
        }
    }

    async Task CarryAsync(Socket client)
    {
        using (client)
        {
            for (var attempt = 0; attempt < _to.Length; attempt++)
            {
                var to = _to[(Interlocked.Increment(ref _next) & int.MaxValue) % _to.Length];
                using var server = new Socket(SocketType.Stream, ProtocolType.Tcp) { NoDelay = true };
                try
                {
                    await server.ConnectAsync(IPAddress.Loopback, to);
                }
                catch (SocketException)
                {
                    continue;
                }

                client.NoDelay = true;
                var line = new Line(this, client, server, to);
                lock (_lines) _lines.Add(line);
                await line.CarryAsync();
                lock (_lines) _lines.Remove(line);
                return;
            }
        }
    }

    /// <summary>One connection.</summary>
    sealed class Line(Balancer balancer, Socket client, Socket server, int to)
    {
        bool _isRecovery;

        public int To => to;

        public string Url { get; private set; } = "";

        public Task CarryAsync() => Task.WhenAll(CarryAsync(client, server, OnRequest), CarryAsync(server, client, OnAnswer));

        public void Reset()
        {
            foreach (var socket in new[] { client, server })
            {
                try
                {
                    socket.LingerState = new LingerOption(true, 0);
                }
                catch (Exception exception) when (exception is SocketException or ObjectDisposedException)
                {
                    // It has ended.
                }

                socket.Dispose();
            }
        }

        /// <summary>Each way ends by itself: what is on the other still arrives.</summary>
        async Task CarryAsync(Socket from, Socket to, Func<string, bool> isSeen)
        {
            var buffer = new byte[4096];
            var isSeenThrough = false;
            try
            {
                while (await from.ReceiveAsync(buffer) is > 0 and var count)
                {
                    isSeenThrough = isSeenThrough || isSeen(Encoding.Latin1.GetString(buffer, 0, count));
                    for (var sent = 0; sent < count;) sent += await to.SendAsync(buffer.AsMemory(sent, count - sent));
                }

                to.Shutdown(SocketShutdown.Send);
            }
            catch (Exception exception) when (exception is SocketException or ObjectDisposedException)
            {
                Reset();
            }
        }

        bool OnRequest(string text)
        {
            Url = text.Split(' ', 3)[1];
            _isRecovery = Url.Contains("awps_reconnection_token=", StringComparison.Ordinal);
            if (_isRecovery) Interlocked.Increment(ref balancer._reconnections);
            return true;
        }

        bool OnAnswer(string text)
        {
            if (!_isRecovery) return true;
            if (!text.Contains("\"connected\"", StringComparison.Ordinal)) return false;
            Interlocked.Increment(ref balancer._recoveries);
            return true;
        }
    }
}
