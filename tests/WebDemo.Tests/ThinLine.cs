using System.Net;
using System.Net.Sockets;

namespace WebDemo.Tests;

/// <summary>A line to the demo that carries only so much towards the client. What it does not take, waits in the server, and hardly in between.</summary>
sealed class ThinLine : IAsyncDisposable
{
    const int Buffer = 4096;

    readonly TcpListener _listener = new(IPAddress.Loopback, 0);
    readonly CancellationTokenSource _end = new();
    readonly Uri _server;
    readonly Task _accepting;

    public ThinLine(Uri server)
    {
        _server = server;
        _listener.Start();
        _accepting = AcceptAsync();
    }

    public Uri Url => new($"http://{_listener.LocalEndpoint}");

    /// <summary>For each connection; it may change at any time.</summary>
    public int BytesPerSecond { get; set; } = int.MaxValue;

    public async ValueTask DisposeAsync()
    {
        await _end.CancelAsync();
        _listener.Dispose();
        await _accepting;
        _end.Dispose();
    }

    async Task AcceptAsync()
    {
        var lines = new List<Task>();
        try
        {
            while (true) lines.Add(CarryAsync(await _listener.AcceptSocketAsync(_end.Token)));
        }
        catch (OperationCanceledException)
        {
            await Task.WhenAll(lines);
        }
    }

    async Task CarryAsync(Socket client)
    {
        using var server = new Socket(SocketType.Stream, ProtocolType.Tcp) { ReceiveBufferSize = Buffer, NoDelay = true };
        using (client)
        {
            client.SendBufferSize = Buffer;
            await server.ConnectAsync(IPAddress.Loopback, _server.Port, _end.Token);
            await Task.WhenAny(CarryAsync(client, server, isThin: false), CarryAsync(server, client, isThin: true));
        }
    }

    async Task CarryAsync(Socket from, Socket to, bool isThin)
    {
        var buffer = new byte[Buffer];
        try
        {
            while (true)
            {
                // A tenth of a second's worth at a time.
                var most = isThin ? Math.Min(BytesPerSecond / 10, Buffer) : Buffer;
                var read = await from.ReceiveAsync(buffer.AsMemory(0, most), _end.Token);
                if (read == 0) return;
                await to.SendAsync(buffer.AsMemory(0, read), _end.Token);
                if (isThin && BytesPerSecond < int.MaxValue) await Task.Delay(TimeSpan.FromSeconds((double)read / BytesPerSecond), _end.Token);
            }
        }
        catch (Exception exception) when (exception is SocketException or OperationCanceledException or ObjectDisposedException)
        {
            // One of the ends is gone.
        }
    }
}
