using System.Globalization;
using System.Net.Sockets;
using System.Net.WebSockets;
using System.Text;

namespace Broadcast.Soak;

/// <summary>A client of /ws. The client checks that the message numbers have no gap.</summary>
sealed class Client : IDisposable
{
    // A slow client reads at this rate. The publisher sends more bytes per second.
    const int SlowBytesPerSecond = 1024;

    readonly ClientWebSocket _socket = new();
    readonly CancellationTokenSource _leaving = new();
    readonly SocketsHttpHandler _handler;
    Task _reading = Task.CompletedTask;
    int _last;

    Client(bool isSlow)
    {
        IsSlow = isSlow;
        _handler = new SocketsHttpHandler
        {
            ConnectCallback = async (context, token) =>
            {
                var socket = new Socket(SocketType.Stream, ProtocolType.Tcp) { NoDelay = true };
                if (isSlow) socket.ReceiveBufferSize = 4096;
                await socket.ConnectAsync(context.DnsEndPoint, token);
                return new NetworkStream(socket, ownsSocket: true);
            },
        };
    }

    public bool IsSlow { get; }

    public string? Problem { get; private set; }

    /// <summary>The reason why the server has ended the connection. Null while the connection is open.</summary>
    public string? End { get; private set; }

    public bool HasEnded => End is not null;

    public static async Task<Client> ConnectAsync(Uri address, bool isSlow)
    {
        var client = new Client(isSlow);
        await client._socket.ConnectAsync(new UriBuilder(address) { Scheme = "ws", Path = "/ws" }.Uri, new HttpMessageInvoker(client._handler), default);
        client._reading = client.ReadAsync();
        return client;
    }

    public async Task<bool> HasReceivedAsync(int number)
    {
        for (var i = 0; i < 100 && Volatile.Read(ref _last) < number; i++) await Task.Delay(100);
        return Volatile.Read(ref _last) >= number;
    }

    public async Task LeaveAsync(bool sendsClose)
    {
        try
        {
            if (sendsClose && _socket.State == WebSocketState.Open)
                await _socket.CloseOutputAsync(WebSocketCloseStatus.NormalClosure, null, new CancellationTokenSource(1000).Token);
        }
        catch (Exception exception) when (exception is WebSocketException or OperationCanceledException)
        {
            // The server has already closed the connection, or the client cannot send the close frame in time.
        }

        if (!sendsClose || IsSlow) await _leaving.CancelAsync();
        await _reading;
        Dispose();
    }

    public void Dispose()
    {
        _socket.Dispose();
        _handler.Dispose();
        _leaving.Dispose();
    }

    public override string ToString() => $"last {_last}, {(IsSlow ? "slow" : "fast")}, {End ?? "open"}";

    async Task ReadAsync()
    {
        var buffer = new byte[32 * 1024];
        try
        {
            while (true)
            {
                var length = 0;
                ValueWebSocketReceiveResult received;
                do
                {
                    var room = IsSlow ? Math.Min(SlowBytesPerSecond, buffer.Length - length) : buffer.Length - length;
                    received = await _socket.ReceiveAsync(buffer.AsMemory(length, room), _leaving.Token);
                    length += received.Count;
                    if (IsSlow) await Task.Delay(TimeSpan.FromSeconds((double)received.Count / SlowBytesPerSecond), _leaving.Token);
                }
                while (!received.EndOfMessage);

                if (received.MessageType == WebSocketMessageType.Close)
                {
                    if (_socket.State == WebSocketState.CloseReceived) End = $"{_socket.CloseStatus} {_socket.CloseStatusDescription}";
                    return;
                }

                Check(Encoding.UTF8.GetString(buffer, 0, length));
            }
        }
        catch (OperationCanceledException)
        {
            // The client has ended the connection itself.
        }
        catch (WebSocketException exception)
        {
            End = exception.Message;
        }
    }

    void Check(string text)
    {
        var number = int.Parse(text.AsSpan(0, text.IndexOf(':')), CultureInfo.InvariantCulture);
        if (_last != 0 && number != _last + 1) Problem ??= $"Message {number} followed message {_last}.";
        Volatile.Write(ref _last, number);
    }
}
