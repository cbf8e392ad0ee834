using System.Net;
using System.Net.Sockets;

namespace WebDemo.Tests;

/// <summary>A line to the demo that tears as it is told: each connection after so many bytes, in one of the ways in which lines do.</summary>
sealed class TornLine : IAsyncDisposable
{
    readonly TcpListener _listener = new(IPAddress.Loopback, 0);
    readonly List<Carrier> _carriers = [];
    readonly Queue<Tear> _tears;
    readonly Func<Task> _moment;
    readonly int _to;
    readonly Task _accepting;

    /// <param name="server">Where it leads.</param>
    /// <param name="tears">Of the first connection, the second and so on; those that come after are whole.</param>
    /// <param name="moment">How long a line stays silent before its end.</param>
    public TornLine(Uri server, IEnumerable<Tear> tears, Func<Task> moment)
    {
        _to = server.Port;
        _tears = new(tears);
        _moment = moment;
        _listener.Start();
        _accepting = AcceptAsync();
    }

    public Uri Url => new($"http://{_listener.LocalEndpoint}");

    /// <summary>How many connections there were.</summary>
    public int Connections { get; private set; }

    /// <summary>How many have torn.</summary>
    public int Torn => Volatile.Read(ref _torn);

    int _torn;

    /// <summary>From now on, nothing comes back through the connections that there are.</summary>
    public void Mute()
    {
        lock (_carriers)
        {
            foreach (var carrier in _carriers) carrier.IsMute = true;
        }
    }

    /// <summary>Resets the connections that there are.</summary>
    public void Cut()
    {
        lock (_carriers)
        {
            foreach (var carrier in _carriers) carrier.Reset();
        }
    }

    public async ValueTask DisposeAsync()
    {
        _listener.Dispose();
        await _accepting;
        Cut();
    }

    async Task AcceptAsync()
    {
        try
        {
            while (true)
            {
                var client = await _listener.AcceptSocketAsync();
                var server = new Socket(SocketType.Stream, ProtocolType.Tcp) { NoDelay = true };
                client.NoDelay = true;
                await server.ConnectAsync(IPAddress.Loopback, _to);
                Connections++;
                var carrier = new Carrier(this, client, server, _tears.TryDequeue(out var tear) ? tear : null);
                lock (_carriers) _carriers.Add(carrier);
                carrier.Start();
            }
        }
        catch (Exception exception) when (exception is SocketException or ObjectDisposedException)
        {
            // The end.
        }
    }

    /// <summary>One connection.</summary>
    sealed class Carrier(TornLine line, Socket client, Socket server, Tear? tear)
    {
        int _isTorn;

        public bool IsMute { get; set; }

        public void Start()
        {
            _ = CarryAsync(client, server, tear is { IsOfRequest: true } ? tear : null, () => false);
            _ = CarryAsync(server, client, tear is { IsOfRequest: false } ? tear : null, () => IsMute);
        }

        public void Reset()
        {
            foreach (var socket in new[] { client, server }) Reset(socket);
        }

        async Task CarryAsync(Socket from, Socket to, Tear? tear, Func<bool> isMute)
        {
            var buffer = new byte[4096];
            var left = tear?.AfterBytes ?? int.MaxValue;
            try
            {
                while (await from.ReceiveAsync(buffer) is > 0 and var count)
                {
                    // What arrives on a torn line, nobody hears.
                    if (_isTorn != 0 || isMute()) continue;
                    var carried = Math.Min(count, left);
                    for (var sent = 0; sent < carried;) sent += await to.SendAsync(buffer.AsMemory(sent, carried - sent));
                    if (tear is null) continue;
                    left -= carried;
                    if (carried == count) continue;
                    await TearAsync(tear.Kind);
                    return;
                }
            }
            catch (Exception exception) when (exception is SocketException or ObjectDisposedException)
            {
                // Torn from elsewhere, or ended.
            }

            if (_isTorn != 0) return;
            client.Dispose();
            server.Dispose();
        }

        async Task TearAsync(TearKind kind)
        {
            Interlocked.Exchange(ref _isTorn, 1);
            Interlocked.Increment(ref line._torn);
            switch (kind)
            {
                case TearKind.Reset:
                    Reset();
                    break;
                case TearKind.End:
                    client.Dispose();
                    server.Dispose();
                    break;
                case TearKind.Silence:
                    await line._moment();
                    Reset();
                    break;
                case TearKind.OnlyHere:
                    Reset(client);
                    break;
                case TearKind.OnlyThere:
                    Reset(server);
                    await line._moment();
                    Reset(client);
                    break;
            }
        }

        static void Reset(Socket socket)
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
}

/// <param name="Kind">How.</param>
/// <param name="AfterBytes">So many are carried, and no more.</param>
/// <param name="IsOfRequest">Of what the client sends; else of what it is sent.</param>
sealed record Tear(TearKind Kind, int AfterBytes, bool IsOfRequest = false);

enum TearKind
{
    /// <summary>Both ends are told, and what was on its way is lost.</summary>
    Reset,

    /// <summary>Both ends are told by an end in the middle of a message.</summary>
    End,

    /// <summary>Nothing is carried any more, and only a moment later the ends are told.</summary>
    Silence,

    /// <summary>The client is told, and the server is not: to it, the client has fallen silent.</summary>
    OnlyHere,

    /// <summary>The server is told, and the client a moment later.</summary>
    OnlyThere,
}
